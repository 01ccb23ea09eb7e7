"""Text unlike clean text: bits a byte under a small n-gram model of it (after CCNet, Wenzek et al. 2020).

CCNet's model is KenLM's, of pieces; this one is of bytes, so that it needs no tokenizer and serves any
language: counts of all runs of up to ORDER bytes in hashed tables, interpolated by Witten and Bell's rule.
The limit is a quantile of held-out clean text, and not a number of bits.

`word_order` (ours) asks how much likelier a text is than its own words in another order: nothing, if they
were in no order to begin with. That holds whatever the text is about.
"""

import functools
import random
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from experiments.data.document import Document
from experiments.data.quality.verdict import Filter, Verdict, at_least, at_most

ORDER = 5
TABLE_BITS = 21
TRAINING_BYTES = 4_000_000
QUANTILE = 0.99  # of held-out clean text that stays
FEWEST = 40  # clean texts
MOST_HELD_OUT = 1000
LONGEST = 100_000  # bytes of a document that are looked at

_BASE = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(64 - TABLE_BITS)


@dataclass(frozen=True)
class NgramModel:
    """Counts by order k = 1 … ORDER: of runs of k bytes, of what precedes their last byte, and of the
    different bytes seen after that: int32[2^TABLE_BITS] each, by hash."""

    runs: tuple[np.ndarray, ...]
    contexts: tuple[np.ndarray, ...]
    followers: tuple[np.ndarray, ...]


def fit(texts: Iterable[str]) -> NgramModel:
    """The model of about the first TRAINING_BYTES of some texts."""
    parts, size = [], 0
    for text in texts:
        parts.append(text.encode()[:LONGEST])
        size += len(parts[-1])
        if size >= TRAINING_BYTES:
            break
    data = np.frombuffer(b"\n".join(parts), np.uint8)
    runs, contexts, followers = [], [], []
    for k in range(1, ORDER + 1):
        run, context = _hashes(data, k)
        first = np.unique(run, return_index=True)[1]  # a context's followers are its different runs
        for tables, places in ((runs, run), (contexts, context), (followers, context[first])):
            tables.append(np.bincount(_place(places), minlength=1 << TABLE_BITS).astype(np.int32))
    return NgramModel(tuple(runs), tuple(contexts), tuple(followers))


def bits_per_byte(model: NgramModel, text: str) -> float:
    """Mean over the bytes of a text of -log2 p(byte | those before it); 0 of an empty text."""
    data = np.frombuffer(text.encode()[:LONGEST], np.uint8)
    if not len(data):
        return 0.0
    p = np.full(len(data), 1 / 256)
    for k in range(1, ORDER + 1):
        run, context = _hashes(data, k)
        n, n_context, n_followers = (
            tables[k - 1][_place(places)]
            for tables, places in ((model.runs, run), (model.contexts, context), (model.followers, context))
        )
        seen = n_context > 0  # elsewhere the shorter context decides
        mixed = (n + n_followers * p[k - 1 :]) / np.maximum(1, n_context + n_followers)
        p[k - 1 :] = np.where(seen, np.minimum(mixed, 1.0), p[k - 1 :])
    return float(-np.log2(p).mean())


def order_gain(model: NgramModel, text: str) -> float:
    """Bits a byte by which a text is likelier than its words in an order drawn by chance, the same each
    time."""
    words = text[:LONGEST].split()
    straight = " ".join(words)
    random.Random(0).shuffle(words)
    return bits_per_byte(model, " ".join(words)) - bits_per_byte(model, straight)


def filters(texts: list[str]) -> dict[str, Filter]:
    """Both filters of some clean texts. The last tenth of them, maybe of other authors, sets the limits:
    "perplexity" lets QUANTILE of them pass, and "word_order" asks for a third of their median gain.

    Raises:
      ValueError: fewer than FEWEST texts.
    """
    if len(texts) < FEWEST:
        raise ValueError(
            f"data.quality.clean: {len(texts)} documents for 'perplexity' or 'word_order' to learn from; "
            f"give {FEWEST} or more"
        )
    held_out = texts[-max(1, len(texts) // 10) :][-MOST_HELD_OUT:]
    model = fit(texts[: -len(held_out)])
    most = float(np.quantile([bits_per_byte(model, text) for text in held_out], QUANTILE))
    gain = float(np.median([order_gain(model, text) for text in held_out])) / 3
    return {
        "perplexity": functools.partial(_bits, model, most),
        "word_order": functools.partial(_order, model, gain),
    }


def _bits(model: NgramModel, most: float, document: Document) -> Verdict:
    return at_most(most, bits_per_byte(model, document.text), "bits a byte")


def _order(model: NgramModel, least: float, document: Document) -> Verdict:
    return at_least(least, order_gain(model, document.text), "bits a byte that the order of words saves")


def _hashes(data: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of each run of k bytes, and of its first k - 1: uint64[len(data) - k + 1] each."""
    n = max(0, len(data) - k + 1)
    value = np.full(n, k, np.uint64)
    for i in range(k - 1):
        value = value * _BASE + data[i : i + n]
    return value * _BASE + data[k - 1 : k - 1 + n], value * _BASE + np.uint64(1 << 32)


def _place(value: np.ndarray) -> np.ndarray:
    value = value * _BASE
    return (((value ^ (value >> np.uint64(31))) * _BASE) >> _SHIFT).astype(np.int64)
