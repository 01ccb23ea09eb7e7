"""What of samples stands in the training set: at each token the longest run that is copied from there.

A suffix array of the corpus answers for n-grams of all lengths at once (McCoy et al. 2021, RAVEN, arXiv
2111.09509; Merrill et al. 2024, arXiv 2406.13069, who use an automaton of the same power). It takes 16 bytes
a token in memory, and about four times that while it is made.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

NGRAMS = (2, 4, 8, 16)
APART = -1  # stands between documents: no sample has it, so nothing is copied across


class SuffixArray(NamedTuple):
    """tokens: int64[N], the documents, each with APART behind it. order: int64[N], where the suffixes begin,
    in the order of their tokens."""

    tokens: np.ndarray
    order: np.ndarray


def suffix_array(documents: Sequence[np.ndarray | Sequence[int]]) -> SuffixArray:
    """The suffixes of documents in order, by doubling of sorted prefixes (Manber & Myers 1993).

    Args:
      documents: tokens of each, not negative.

    Raises:
      ValueError: no tokens, or a negative one.
    """
    parts = [np.append(np.asarray(document, np.int64), APART) for document in documents]
    tokens = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    if len(tokens) == len(parts):
        raise ValueError("the training set has no tokens; novelty is against some")
    if np.sum(tokens < 0) > len(parts) or tokens.min() < APART:
        raise ValueError(f"token {tokens.min()} in the training set; tokens are 0 or more")
    rank, width = np.unique(tokens, return_inverse=True)[1].astype(np.int64), 1
    while True:
        # The rank of the first `width` tokens, then that of the next as many; 0 beyond the end.
        key = rank * (len(tokens) + 1)
        key[:-width] += rank[width:] + 1
        order = np.argsort(key, kind="stable")
        new = np.concatenate([[0], np.cumsum(np.diff(key[order]) != 0)])
        rank = np.empty_like(new)
        rank[order] = new
        width *= 2
        if new[-1] == len(tokens) - 1:
            return SuffixArray(tokens, order)


def copied_lengths(training: SuffixArray, samples: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Of each sample int[T]: how many tokens from each one on stand in a row in one training document.

    All places of all samples are looked up together: a range of suffixes for each, which the next token
    makes narrower.
    """
    if not samples:
        return []
    lengths = np.array([len(sample) for sample in samples])
    text = np.concatenate([np.append(np.asarray(sample, np.int64), APART - 1) for sample in samples])
    found = np.zeros(len(text), np.int64)
    alive = np.flatnonzero(text != APART - 1)
    low, high, depth = np.zeros(len(alive), np.int64), np.full(len(alive), len(training.order)), 0
    while len(alive):
        wanted = text[alive + depth]
        low, high = (_first(training, low, high, depth, wanted + above) for above in (0, 1))
        alive, low, high = alive[low < high], low[low < high], high[low < high]
        depth += 1
        found[alive] = depth
    return [row[:-1] for row in np.split(found, np.cumsum(lengths + 1)[:-1])]


def _first(training: SuffixArray, low: np.ndarray, high: np.ndarray, depth: int, least: np.ndarray):
    """Of each range of suffixes the first whose token at `depth` is at least so large, by bisection.

    Args:
      training: whose suffixes of a range agree before `depth`.
      low, high: int[Q], the ranges.
      depth: tokens from a suffix's beginning.
      least: int[Q].
    """
    low, high = low.copy(), high.copy()
    while np.any(low < high):
        middle = (low + high) // 2
        place = training.order[np.minimum(middle, len(training.order) - 1)] + depth
        inside = place < len(training.tokens)
        token = np.where(inside, training.tokens[np.minimum(place, len(training.tokens) - 1)], APART - 1)
        smaller = (token < least) & (low < high)
        low, high = np.where(smaller, middle + 1, low), np.where(smaller, high, middle)
    return low


def share_found(copied: Sequence[np.ndarray], n: int) -> float:
    """Share of the n-grams of samples that stand in the training set; NaN without any.

    Args:
      copied: of `copied_lengths`.
      n: tokens of an n-gram.
    """
    starts = [row[: len(row) - n + 1] for row in copied if len(row) >= n]
    return float(np.mean(np.concatenate(starts) >= n)) if starts else float("nan")


def measures(training: SuffixArray, samples: Sequence[Sequence[int]]) -> dict[str, float]:
    """longest_copied: the mean over samples of the longest n-gram that a training document has; novel: share
    of samples that are not, whole, in one; found_2 … found_16: shares of n-grams that training has.

    Args:
      training: the suffix array of the training set.
      samples: token ids, of the same vocabulary.
    """
    copied = copied_lengths(training, samples)
    longest = [int(row.max(initial=0)) for row in copied]
    novel = [most < len(row) for most, row in zip(longest, copied)]
    found = {f"found_{n}": share_found(copied, n) for n in NGRAMS}
    return {"longest_copied": float(np.mean(longest)), "novel": float(np.mean(novel))} | found
