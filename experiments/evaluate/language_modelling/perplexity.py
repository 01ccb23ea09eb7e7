"""Loss and bits per byte of a checkpoint on a text, with intervals over whole documents.

The text is a stream of tokens in which every document ends with EOS, read exactly as in training: cut into
windows of `context` tokens that do not overlap and run across documents. A token is predicted from those
before it in its window and counted once; the stream's first token has nothing before it and is not counted.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.vocab import Vocab
from experiments.evaluate.language_modelling.tokenized_text import TokenizedText
from experiments.evaluate.statistics.intervals import Estimate, ratio_difference, ratios
from models.model import Model

LOGITS_PER_BATCH = 2**21  # 8 MiB of float32: with more, a CPU waits for its memory
LEAST_TOKENS = 2**11  # in a batch, however large the vocabulary
MIN_DOCUMENTS = 10


@dataclass(frozen=True)
class Perplexity:
    """`loss` is nats per token, EOS counted; bits_per_byte = loss · n_tokens / (ln 2 · n_bytes) is comparable
    between tokenizers. `n_bytes_lost` of the bytes are not in what the tokens decode to (fewer than none:
    there is more in it). `resampled` says what the intervals take as independent."""

    n_documents: int
    n_tokens: int
    n_bytes: int
    n_bytes_lost: int
    context: int
    loss: Estimate
    bits_per_byte: Estimate
    level: float
    resampled: Literal["documents", "windows"]


@dataclass(frozen=True)
class DocumentLosses:
    """What each document of a text cost: nats, predicted tokens, UTF-8 bytes, and bytes of what its tokens
    decode to, each [n_documents].

    `unit` [n_tokens] is the document of each predicted token.
    """

    nats: np.ndarray
    tokens: np.ndarray
    n_bytes: np.ndarray
    n_decoded: np.ndarray
    unit: np.ndarray


def perplexity(
    model: Model,
    params: Any,
    text: TokenizedText,
    vocab: Vocab,
    context: int,
    *,
    level: float = 0.9,
) -> Perplexity:
    """Scores a text in windows of `context` tokens.

    Args:
      model, params: a decoder.
      text: tokens with their documents.
      vocab: whose bytes are counted.
      context: tokens a window, the network's own as a rule.
      level: of the intervals.

    Raises:
      ValueError: no text, a loss that is not finite, or a network with an encoder.
    """
    return summarise(token_losses(model, params, text.tokens, context), text, vocab, context, level)


def token_losses(model: Model, params: Any, tokens: np.ndarray, context: int) -> np.ndarray:
    """Negative log-likelihood in nats of tokens[1:], float32 [n - 1]; see the module for the windows.

    Args:
      model, params: a decoder.
      tokens: int32[n].
      context: tokens a window.
    """
    return np.concatenate(list(loss_batches(model, params, tokens, context)))


def loss_batches(
    model: Model, params: Any, tokens: np.ndarray, context: int, first: int = 0
) -> Iterator[np.ndarray]:
    """`token_losses` from window `first` on, a batch of windows at a time.

    Args:
      model, params: a decoder.
      tokens: int32[n].
      context: tokens a window.
      first: the window to begin with.

    Raises:
      ValueError: fewer than two tokens, or a network with an encoder.
    """
    if model.has_encoder:
        raise ValueError(
            f"perplexity of a running text is for decoders; family {model.config.family} predicts a target "
            "from a source: ask it --tasks"
        )
    n = len(tokens) - 1
    if n < 1:
        raise ValueError("the text is empty; give at least one document")
    n_windows = math.ceil(n / context)
    batch = min(n_windows, batch_rows(model, context))
    ahead, n_ahead = None, 0  # the next batch is at work while the one before is read
    for start in range(first, n_windows, batch):
        piece = tokens[start * context : (start + batch) * context + 1].astype(np.int32)
        n_piece = len(piece) - 1
        losses = _window_losses(model, params, np.pad(piece, (0, batch * context - n_piece)), context)
        if ahead is not None:
            yield jax.device_get(ahead)[:n_ahead]
        ahead, n_ahead = losses, n_piece
    if ahead is not None:
        yield jax.device_get(ahead)[:n_ahead]


def batch_rows(model: Model, context: int) -> int:
    """Windows of a full batch."""
    return max(1, max(LEAST_TOKENS, LOGITS_PER_BATCH // model.config.vocab_size) // context)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _window_losses(model: Model, params, tokens, context: int):
    inputs_BT, targets_BT = tokens[:-1].reshape(-1, context), tokens[1:].reshape(-1, context)
    logits_BTV = model.apply(params, inputs_BT)
    chosen_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits_BTV, axis=-1) - chosen_BT).ravel()


def document_losses(nats: np.ndarray, text: TokenizedText, vocab: Vocab) -> DocumentLosses:
    """Sums of `token_losses` by document.

    Raises:
      ValueError: losses that are not finite, or a text of no bytes.
    """
    if not np.isfinite(nats).all():
        raise ValueError("the loss is not finite: this checkpoint has diverged; evaluate an earlier one")
    tokens, offsets, n = text.tokens, text.offsets, len(text.offsets) - 1
    # Target i of the stream is tokens[i + 1].
    unit = np.searchsorted(offsets, np.arange(1, len(tokens)), side="right") - 1
    pieces = (tokens[max(start, 1) : end] for start, end in itertools.pairwise(offsets))
    decoded = np.array([len(vocab.decode(piece).encode()) for piece in pieces], np.float64)
    if not decoded.sum():
        raise ValueError("the text decodes to nothing; bits per byte needs at least one byte")
    n_bytes = decoded if text.n_bytes is None else np.asarray(text.n_bytes, np.float64)
    if not n_bytes.ndim:  # of all together: each document has its part, but for the token that is not counted
        first = len(vocab.decode(tokens[: 1 if offsets[0] == 0 else 0]).encode())
        n_bytes = decoded * (n_bytes / (decoded.sum() + first))
    sums, counts = np.bincount(unit, nats.astype(np.float64), n), np.bincount(unit, minlength=n)
    return DocumentLosses(sums, counts, n_bytes, decoded, unit)


def summarise(
    nats: np.ndarray, text: TokenizedText, vocab: Vocab, context: int, level: float = 0.9
) -> Perplexity:
    """Loss and bits per byte from `token_losses` [n_tokens].

    Args:
      nats: of each predicted token, float[n_tokens].
      text, vocab: what they were predicted of.
      context: tokens a window.
      level: of the intervals.

    Raises:
      ValueError: as `document_losses`.
    """
    found = document_losses(nats, text, vocab)
    every = np.ones(len(found.nats), bool)
    if len(found.nats) >= MIN_DOCUMENTS:
        return _over_documents(found, every, context, level)
    window = np.arange(len(nats)) // context
    tokens, total = np.bincount(window), found.n_bytes.sum()
    n_bytes = tokens * total / len(nats)
    sums = np.bincount(window, nats.astype(np.float64))
    loss, bits = ratios(sums, [tokens, n_bytes * math.log(2)], level)
    n, lost = len(found.nats), total - found.n_decoded.sum()
    return Perplexity(n, len(nats), round(total), round(lost), context, loss, bits, level, "windows")


def by_document(
    found: DocumentLosses, labels: list[str], context: int, level: float = 0.9
) -> dict[str, Perplexity]:
    """Loss and bits per byte of documents with the same label; intervals are over the group's documents.

    Args:
      found: the losses of the documents.
      labels: of each document [n_documents].
      context: tokens a window.
      level: of the intervals.
    """
    of_document = np.array(labels)
    groups = {label: of_document == label for label in dict.fromkeys(labels)}
    return {
        label: _over_documents(found, chosen, context, level)
        for label, chosen in groups.items()
        if found.n_bytes[chosen].sum()
    }


def by_position(
    nats: np.ndarray, found: DocumentLosses, context: int, level: float = 0.9
) -> dict[str, Estimate]:
    """Loss in nats per token by the number of tokens before it in its window, in powers of two.

    Intervals are over documents.

    Args:
      nats: of each predicted token, float[n_tokens].
      found: the losses of the documents.
      context: tokens a window.
      level: of the intervals.
    """
    power = np.frexp(np.arange(len(nats)) % context)[1]  # 0 | 1 | 2-3 | 4-7 | …
    estimates = {}
    for p in range(power.max() + 1):
        chosen, n = power == p, len(found.nats)
        unit = found.unit[chosen]
        sums, counts = np.bincount(unit, nats[chosen].astype(np.float64), n), np.bincount(unit, minlength=n)
        low, high = (0, 0) if p == 0 else (2 ** (p - 1), min(2**p, context) - 1)
        there = counts > 0
        [estimate] = ratios(sums[there], [counts[there]], level)
        estimates[f"{low}" if low == high else f"{low}-{high}"] = estimate
    return estimates


def length_labels(found: DocumentLosses) -> list[str]:
    """Each document's size class in bytes, in powers of four."""
    limits = [4**k for k in range(4, 10)]

    def label(n_bytes: float) -> str:
        below = [limit for limit in limits if n_bytes < limit]
        if not below:
            return f"from {limits[-1]:,} bytes"
        low = below[0] // 4 if below[0] > limits[0] else 0
        return f"{low:,} to {below[0] - 1:,} bytes"

    return [label(n_bytes) for n_bytes in found.n_bytes]


def difference(a: DocumentLosses, b: DocumentLosses, level: float = 0.9) -> Estimate:
    """Bits per byte of one checkpoint above another's on the same documents, each of which is a pair.

    Args:
      a, b: losses of the same documents under the two.
      level: of the interval.
    """
    scale = math.log(2) * a.n_bytes
    return ratio_difference(a.nats, b.nats, scale, level)


def _over_documents(found: DocumentLosses, chosen: np.ndarray, context: int, level: float) -> Perplexity:
    nats, tokens, n_bytes = found.nats[chosen], found.tokens[chosen], found.n_bytes[chosen]
    loss, bits = ratios(nats, [tokens, n_bytes * math.log(2)], level)
    n, n_tokens, total = int(chosen.sum()), int(tokens.sum()), float(n_bytes.sum())
    lost = total - float(found.n_decoded[chosen].sum())
    return Perplexity(n, n_tokens, round(total), round(lost), context, loss, bits, level, "documents")
