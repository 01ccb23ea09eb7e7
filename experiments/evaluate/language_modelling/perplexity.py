"""Loss and bits per byte of a checkpoint on a text, with intervals over whole documents.

The text is a stream of tokens in which every document ends with EOS; their losses are of `token_losses`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from experiments.data.vocab import Vocab
from experiments.evaluate.language_modelling.tokenized_text import TokenizedText
from experiments.evaluate.statistics.intervals import Estimate, ratio_difference, ratios

if TYPE_CHECKING:  # losses that are known are summed without jax
    from models.model import Model

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
    from experiments.evaluate.language_modelling.token_losses import token_losses

    return summarise(token_losses(model, params, text.tokens, context), text, vocab, context, level)


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
