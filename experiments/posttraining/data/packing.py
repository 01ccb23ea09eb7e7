"""Conversations packed into rows: several in one, each in a segment of its own, so that little is padding.

First fit: every example goes into the first row that has room, in the order of the set, which is that of the
examples' hashes. So rows are a pure function of the examples; a seed orders them (`batches.shuffled`).
"""

import functools
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from experiments.posttraining.data.examples import SPLITS, Examples, RaggedColumn


@dataclass(frozen=True)
class PackedRows:
    """Rows of `seq_len` + 1 tokens. Row r has the examples example_ids[offsets[r]:offsets[r + 1]].

    n_tokens: of all rows, without padding; n_weighted: of these, the responses'.
    n_truncated: examples that were cut; n_left_out: those of whose responses nothing was left.
    """

    examples: Examples = field(repr=False)
    seq_len: int
    weight_by: Literal["token", "example"]
    example_ids: np.ndarray
    offsets: np.ndarray
    n_tokens: int
    n_weighted: int
    n_truncated: int
    n_left_out: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def batch(self, rows_B: np.ndarray) -> dict[str, np.ndarray]:
        """The rows with these numbers; -1 is a row of padding.

        Returns:
          tokens int32[B,T+1]; segments int32[B,T+1], 0 at padding, then 1, 2, … an example each; weights
          float32[B,T+1], of predicting that token: 1 at responses, by example 1 over the number of its
          response tokens; 0 elsewhere and at the first token of a segment, which nothing predicts.
        """
        shape = len(rows_B), self.seq_len + 1
        tokens_BT, segments_BT = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        weights_BT = np.zeros(shape, np.float32)
        tokens, mask = self.examples.columns["tokens"], self.examples.columns["mask"]
        for b, row in enumerate(rows_B):
            start = 0
            for segment, i in enumerate(
                self.example_ids[self.offsets[row] : self.offsets[row + 1]] if row >= 0 else (), 1
            ):
                ids, said = tokens[i][: self.seq_len + 1], mask[i][: self.seq_len + 1].astype(np.float32)
                said[0] = 0
                place = slice(start, start := start + len(ids))
                tokens_BT[b, place], segments_BT[b, place] = ids, segment
                weights_BT[b, place] = said if self.weight_by == "token" else said / said.sum()
        return {"tokens": tokens_BT, "segments": segments_BT, "weights": weights_BT}


def pack(
    examples: Examples,
    seq_len: int,
    weight_by: Literal["token", "example"] = "token",
    alone: bool = False,
) -> PackedRows:
    """Rows of all examples (columns "tokens" and "mask").

    An example that is longer than a row is cut to its beginning; if none of its responses is left, it is left
    out.

    Args:
      examples: one split.
      seq_len: tokens that a row predicts; it holds one more.
      weight_by: whether tokens or examples count alike.
      alone: each example has a row of its own.

    Raises:
      ValueError: no example is left.
    """
    tokens, mask = examples.columns["tokens"], examples.columns["mask"]
    width = seq_len + 1
    # Response tokens within reach: those of the first `width` tokens that another precedes.
    until = np.concatenate([[0], np.cumsum(mask.values, dtype=np.int64)])
    first = np.minimum(mask.offsets[:-1] + 1, mask.offsets[1:])
    n_said = until[np.minimum(mask.offsets[:-1] + width, mask.offsets[1:])] - until[first]
    kept = np.flatnonzero(n_said > 0)
    if not len(kept):
        raise ValueError(
            f"packing: rows of seq_len={seq_len} cut off the responses of all {len(examples)} examples; "
            "use longer rows"
        )
    lengths = np.minimum(tokens.lengths[kept], width)
    row_of = np.arange(len(kept)) if alone else first_fit(lengths, width)
    order = np.argsort(row_of, kind="stable")
    offsets = np.searchsorted(row_of[order], np.arange(row_of.max() + 2))
    return PackedRows(
        examples=examples,
        seq_len=seq_len,
        weight_by=weight_by,
        example_ids=kept[order],
        offsets=offsets,
        n_tokens=int(lengths.sum()),
        n_weighted=int(n_said.sum()),
        n_truncated=int((tokens.lengths[kept] > width).sum()),
        n_left_out=len(examples) - len(kept),
    )


def last_responses(examples: Examples) -> Examples:
    """The same with a mask that is true at the last response only."""
    mask = examples.columns["mask"]
    last = np.zeros_like(mask.values)
    for start, end in zip(mask.offsets[:-1], mask.offsets[1:]):
        if len(said := np.flatnonzero(mask.values[start:end])):
            first = said[np.flatnonzero(np.diff(said, prepend=-2) > 1)[-1]]
            last[start + first : start + said[-1] + 1] = 1
    return Examples({**examples.columns, "mask": RaggedColumn(last, mask.offsets)}, examples.manifest)


def first_fit(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """int64[n]: the row of each item, the first that has room for it when it comes (Johnson 1974).

    A tree over the rows has the largest room below each node, so an item takes log n steps. What was packed
    last is remembered: a command packs to count its steps, and then to train. The array is read-only.

    Args:
      lengths: int[n], each at most `capacity`.
      capacity: of a row.
    """
    return _first_fit(np.asarray(lengths, np.int64).tobytes(), capacity)


@functools.lru_cache(maxsize=2 * len(SPLITS))
def _first_fit(lengths_int64: bytes, capacity: int) -> np.ndarray:
    lengths = np.frombuffer(lengths_int64, np.int64)
    size = 1 << max(0, int(len(lengths) - 1).bit_length())
    room = [capacity] * (2 * size)  # node k has children 2 k and 2 k + 1; leaves are rows, all open
    rows = np.empty(len(lengths), np.int64)
    for item, length in enumerate(lengths.tolist()):
        node = 1
        while node < size:
            node = 2 * node if room[2 * node] >= length else 2 * node + 1
        rows[item] = node - size
        room[node] -= length
        while node := node // 2:
            room[node] = max(room[2 * node], room[2 * node + 1])
    rows.flags.writeable = False
    return rows
