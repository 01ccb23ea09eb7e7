"""Equal documents, lines and runs of words: each is kept once, in the document that has precedence.

Runs of words are Lee et al.'s ExactSubstr ("Deduplicating training data makes language models better", 2022)
by hashes of all windows in the place of a suffix array: what is found is the same, for runs of one length.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.data.duplicates.words import runs, words
from experiments.data.splits import letters


@dataclass(frozen=True)
class Pieces:
    """Parts of documents that may be repeated: hash uint64[k], number of the document int64[k], and the bytes
    of its text from start to end, int64[k]."""

    hashes: np.ndarray
    owners: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def digest(text: bytes) -> int:
    """64 bits of a text, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def lines(documents: Sequence[bytes], shortest: int, first: int = 0) -> Pieces:
    """The lines of at least `shortest` letters, with the line break after them.

    Args:
      documents: UTF-8.
      shortest: letters and digits, in the normal form of `splits.letters`.
      first: the number of the first of the documents.
    """
    found = []
    for owner, document in enumerate(documents, first):
        start = 0
        for line in document.splitlines(keepends=True):
            normal = letters(line)
            if len(normal) >= shortest:
                found.append((digest(normal), owner, start, start + len(line)))
            start += len(line)
    return _pieces(found)


def word_runs(documents: Sequence[bytes], n: int, first: int = 0) -> Pieces:
    """All runs of n words.

    Args:
      documents: UTF-8.
      n: words of a run.
      first: the number of the first of the documents.
    """
    found = words(documents)
    hashes, begin = runs(found, n)
    return Pieces(hashes, found.owners[begin] + first, found.starts[begin], found.ends[begin + n - 1])


def join(parts: Sequence[Pieces]) -> Pieces:
    """All pieces of several."""
    return Pieces(*(np.concatenate([vars(part)[name] for part in (*parts, _pieces([]))]) for name in _NAMES))


def repeated(pieces: Pieces, ranks: np.ndarray) -> np.ndarray:
    """bool[k]: which pieces are to be found before, in a document of lower rank or earlier in the same one.

    A piece that overlaps the first one of its kind is no repetition of it: "ha ha ha" is kept.

    Args:
      pieces: of all documents.
      ranks: int64[documents], the lowest has precedence; all different.
    """
    rank = ranks[pieces.owners]
    order = np.lexsort((pieces.starts, rank, pieces.hashes))
    is_first = np.diff(pieces.hashes[order], prepend=~pieces.hashes[order[:1]]) != 0
    original = order[np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))]
    later = (rank[order] != rank[original]) | (pieces.starts[order] >= pieces.ends[original])
    found = np.zeros(len(order), bool)
    found[order] = ~is_first & later
    return found


def cuts(pieces: Pieces, chosen: np.ndarray) -> dict[int, list[tuple[int, int]]]:
    """Bytes to be cut out of each document, as (start, end) in order and apart.

    Args:
      pieces: of all documents.
      chosen: bool[k], which pieces are to go.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    owners, starts, ends = (x[chosen].tolist() for x in (pieces.owners, pieces.starts, pieces.ends))
    for owner, start, end in zip(owners, starts, ends):
        found.setdefault(owner, []).append((start, end))
    return {owner: merged(spans) for owner, spans in found.items()}


def merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, joined where they touch."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def cut(text: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    """A text without some of its bytes."""
    kept, start = [], 0
    for begin, end in spans:
        kept.append(text[start:begin])
        start = end
    return b"".join([*kept, text[start:]])


_NAMES = ("hashes", "owners", "starts", "ends")


def _pieces(found: list[tuple[int, int, int, int]]) -> Pieces:
    columns = list(zip(*found)) or [()] * len(_NAMES)
    return Pieces(np.array(columns[0], np.uint64), *(np.array(column, np.int64) for column in columns[1:]))
