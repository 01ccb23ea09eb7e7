"""Log-probabilities of continuations, in batches of few shapes: the one forward pass behind all tasks."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.vocab import Vocab, begun
from models.model import Model

TOKENS_PER_BATCH = 2**13
LOGITS_PER_BATCH = 2**23  # 32 MiB of float32
SHORTEST = 32  # lengths are rounded up to powers of two from here


@dataclass(frozen=True)
class ScoringRow:
    """Tokens of a continuation, one at least, of a context of one at least."""

    context: list[int]
    continuation: list[int]

    def __len__(self) -> int:
        return len(self.context) + len(self.continuation)


class Loglikelihood(NamedTuple):
    """Sum of a continuation's log-probabilities in nats; whether each of its tokens is the likeliest."""

    logprob: float
    greedy: bool


def encode_pair(vocab: Vocab, context: str, continuation: str) -> ScoringRow:
    """`encode_choices` of one continuation."""
    return encode_choices(vocab, context, [continuation])[0]


def encode_choices(vocab: Vocab, context: str, continuations: Sequence[str]) -> list[ScoringRow]:
    """A text and each of its continuations as tokens; a text begins as the vocabulary says (`begun`).

    As in the lm-evaluation-harness, spaces at the end of the context go to the continuation, and tokens are
    those of one text, split where those of the context alone end. Where one of the texts has a token across
    that place, the harness scores too little of it, or nothing: then all continuations get tokens of their
    own, so that none is favoured for how it happens to merge.

    Raises:
      ValueError: a continuation that has no tokens.
    """
    stripped = context.rstrip()
    endings = [context[len(stripped) :] + continuation for continuation in continuations]
    before, wholes = vocab.encode(stripped), [vocab.encode(stripped + ending) for ending in endings]
    n = len(before)
    if all(len(whole) > n and whole[:n] == before for whole in wholes):
        return [ScoringRow(begun(vocab, before), whole[n:]) for whole in wholes]
    rows = []
    for whole, ending in zip(wholes, endings):
        own, shared = vocab.encode(ending), n
        if vocab.decode([*before, *own]) != vocab.decode(whole):  # it puts a space in front of any text
            agrees = [a == b for a, b in zip(before, whole[:-1])]
            shared = len(list(itertools.takewhile(bool, agrees)))
            own = whole[shared:]
        if not own:
            raise ValueError(f"the vocabulary has no token for {ending!r} after {stripped[-40:]!r}")
        rows.append(ScoringRow(begun(vocab, before[:shared]), own))
    return rows


def bucket(size: int, least: int = SHORTEST) -> int:
    """`size` rounded up to a power of two, at least `least`."""
    return max(least, 1 << (size - 1).bit_length())


class RowBatch(NamedTuple):
    """Groups scored at once, by index, and the shape they are padded to: rows, length, continued tokens."""

    groups: list[int]
    shape: tuple[int, int, int]


def plan_batches(groups: Sequence[Sequence[ScoringRow]], vocab_size: int) -> Iterator[RowBatch]:
    """Batches of whole groups of rows, those of like length together; all of one length have one shape.

    Lengths are rounded up to powers of two, so that few shapes are ever compiled.
    """
    lengths = [bucket(max(map(len, rows)) - 1) for rows in groups]
    order = sorted(range(len(groups)), key=lambda i: lengths[i])
    for length, numbers in itertools.groupby(order, key=lambda i: lengths[i]):
        same = list(numbers)
        longest = bucket(max(len(row.continuation) for i in same for row in groups[i]), SHORTEST // 2)
        n_rows = min(TOKENS_PER_BATCH // length, LOGITS_PER_BATCH // (longest * vocab_size))
        n_rows = min(n_rows, bucket(sum(len(groups[i]) for i in same), 1))
        n_rows = max(n_rows, *(len(groups[i]) for i in same), 1)
        batch, free = [], n_rows
        for i in same:
            if len(groups[i]) > free:
                yield RowBatch(batch, (n_rows, length, longest))
                batch, free = [], n_rows
            batch.append(i)
            free -= len(groups[i])
        yield RowBatch(batch, (n_rows, length, longest))


def score_rows(
    model: Model, params: Any, rows: Sequence[ScoringRow], shape: tuple[int, int, int]
) -> list[Loglikelihood]:
    """Scores rows in one batch of a shape that holds them (see `RowBatch`).

    Args:
      model, params: a decoder.
      rows: context and continuation, as tokens.
      shape: rows of the batch, tokens a row, tokens of the longest continuation.
    """
    n_rows, length, longest = shape
    tokens_BT = np.zeros((n_rows, length + 1), np.int32)
    begins_B, ends_B = np.ones(n_rows, np.int32), np.ones(n_rows, np.int32)
    for b, row in enumerate(rows):
        tokens_BT[b, : len(row)] = row.context + row.continuation
        begins_B[b], ends_B[b] = len(row.context), len(row)
    logprobs, greedy = jax.device_get(_loglikelihoods(model, params, tokens_BT, begins_B, ends_B, longest))
    return [Loglikelihood(float(logprobs[b]), bool(greedy[b])) for b in range(len(rows))]


def score_all(model: Model, params: Any, rows: Sequence[ScoringRow]) -> list[Loglikelihood]:
    """Scores any number of rows, in their order."""
    found: dict[int, Loglikelihood] = {}
    for batch in plan_batches([[row] for row in rows], model.config.vocab_size):
        scores = score_rows(model, params, [rows[i] for i in batch.groups], batch.shape)
        found.update(zip(batch.groups, scores))
    return [found[i] for i in range(len(rows))]


@functools.partial(jax.jit, static_argnums=(0, 5))
def _loglikelihoods(model: Model, params, tokens_BT, begins_B, ends_B, longest: int):
    """Sums of log-probabilities [B] of tokens[begin:end] and whether all are the likeliest [B].

    Only continued positions go through the head.
    """
    places_BC = begins_B[:, None] + jnp.arange(longest)  # of the tokens that are scored
    real_BC = places_BC < ends_B[:, None]
    places_BC = jnp.minimum(places_BC, tokens_BT.shape[1] - 1)
    targets_BC = jnp.take_along_axis(tokens_BT, places_BC, axis=1)
    if model.has_encoder:
        # As in training: the text is the source, and its last token starts the decoder.
        is_source_BT = jnp.arange(tokens_BT.shape[1]) < jnp.maximum(begins_B - 1, 1)[:, None]
        inputs_BC = jnp.take_along_axis(tokens_BT, places_BC - 1, axis=1)
        x_BCD, _ = model.hidden(params, inputs_BC, source_BS=tokens_BT, source_mask_BS=is_source_BT)
    else:
        x_BTD, _ = model.hidden(params, tokens_BT[:, :-1])
        x_BCD = jnp.take_along_axis(x_BTD, places_BC[..., None] - 1, axis=1)
    logits_BCV = model.logits(params, x_BCD)
    chosen_BC = jnp.take_along_axis(logits_BCV, targets_BC[..., None], axis=-1)[..., 0]
    logprobs_BC = chosen_BC - jax.nn.logsumexp(logits_BCV, axis=-1)
    right_BC = jnp.argmax(logits_BCV, axis=-1) == targets_BC
    return jnp.where(real_BC, logprobs_BC, 0).sum(axis=1), jnp.all(right_BC | ~real_BC, axis=1)
