"""Loss and bits per byte of a checkpoint on a text, with intervals that resample whole documents.

The text is a stream of tokens in which every document ends with EOS, read exactly as in training: cut into
windows of `context` tokens that do not overlap and run across documents. A token is predicted from those
before it in its window and counted once; the stream's first token has nothing before it and is not counted.
"""

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.vocab import Vocab
from experiments.evaluate.text import Text
from models.model import Model

LOGITS_PER_BATCH = 2**23  # 32 MiB of float32
MIN_DOCUMENTS = 10


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error and its bootstrap interval; nan where there is too little text for them."""

    value: float
    se: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Perplexity:
    """`loss` is nats per token, EOS counted; bits_per_byte = loss · n_tokens / (ln 2 · n_bytes) is comparable
    between tokenizers. `resampled` says what the intervals take as independent."""

    n_documents: int
    n_tokens: int
    n_bytes: int
    context: int
    loss: Estimate
    bits_per_byte: Estimate
    level: float
    resampled: Literal["documents", "windows"]


def perplexity(
    model: Model,
    params: Any,
    text: Text,
    vocab: Vocab,
    context: int,
    *,
    level: float = 0.9,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Perplexity:
    """Scores a text in windows of `context` tokens.

    Raises:
      ValueError: no text, a loss that is not finite, or a network with an encoder.
    """
    tokens, offsets = text.tokens, text.offsets
    if model.has_encoder:
        raise ValueError(
            f"perplexity of a running text is for decoders; a {model.config.family} predicts a target from a "
            "source"
        )
    if len(tokens) < 2:
        raise ValueError("the text is empty; give at least one document")
    nats = token_losses(model, params, tokens, context).astype(np.float64)
    if not np.isfinite(nats).all():
        raise ValueError("the loss is not finite: this checkpoint has diverged; evaluate an earlier one")
    n_documents = len(offsets) - 1
    # Target i of the stream is tokens[i + 1].
    document = np.searchsorted(offsets, np.arange(1, len(tokens)), side="right") - 1
    pieces = (tokens[max(start, 1) : end] for start, end in itertools.pairwise(offsets))
    n_bytes = np.array([len(vocab.decode(piece).encode()) for piece in pieces], np.float64)
    if not n_bytes.sum():
        raise ValueError("the text decodes to nothing; bits per byte needs at least one byte")
    if n_documents >= MIN_DOCUMENTS:
        resampled, unit, bytes_of_unit = "documents", document, n_bytes
    else:
        resampled, unit = "windows", np.arange(len(nats)) // context
        bytes_of_unit = np.bincount(unit) * n_bytes.sum() / len(nats)
    nats_of_unit, tokens_of_unit = np.bincount(unit, nats), np.bincount(unit)
    loss, bits_per_byte = ratios(
        nats_of_unit, [tokens_of_unit, bytes_of_unit * math.log(2)], level, n_bootstrap, seed
    )
    return Perplexity(
        n_documents, len(nats), int(n_bytes.sum()), context, loss, bits_per_byte, level, resampled
    )


def token_losses(model: Model, params: Any, tokens: np.ndarray, context: int) -> np.ndarray:
    """Negative log-likelihood in nats of tokens[1:], float32 [n - 1]; see the module for the windows."""
    n = len(tokens) - 1
    n_windows = math.ceil(n / context)
    batch = min(n_windows, max(1, LOGITS_PER_BATCH // (context * model.config.vocab_size)))
    losses = []
    for first in range(0, n_windows, batch):
        piece = tokens[first * context : (first + batch) * context + 1].astype(np.int32)
        piece = np.pad(piece, (0, batch * context + 1 - len(piece)))
        losses.append(_window_losses(model, params, piece, context))
    return np.concatenate(jax.device_get(losses))[:n]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _window_losses(model: Model, params, tokens, context: int):
    inputs_BT, targets_BT = tokens[:-1].reshape(-1, context), tokens[1:].reshape(-1, context)
    logits_BTV = model.apply(params, inputs_BT)
    chosen_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits_BTV, axis=-1) - chosen_BT).ravel()


def ratios(
    numerator: np.ndarray, denominators: list[np.ndarray], level: float, n_bootstrap: int, seed: int
) -> list[Estimate]:
    """sum(numerator) / sum(denominator) for each denominator, over units that are resampled together.

    Standard errors and the percentile interval come from one bootstrap over units (Efron & Tibshirani 1993).
    """
    columns = np.stack([numerator, *denominators], axis=1)
    n, rng = len(columns), np.random.default_rng(seed)
    totals = columns.sum(axis=0)
    values = totals[0] / totals[1:]
    if n < 2:
        return [Estimate(float(value), math.nan, math.nan, math.nan) for value in values]
    draws = (np.bincount(rng.integers(n, size=n), minlength=n) @ columns for _ in range(n_bootstrap))
    drawn = np.stack(list(draws))
    drawn = drawn[:, :1] / drawn[:, 1:]
    lo, hi = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    se = drawn.std(axis=0, ddof=1)
    return [Estimate(*map(float, row)) for row in zip(values, se, lo, hi)]
