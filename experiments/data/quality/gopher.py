"""The rules of MassiveText: Rae et al. 2021, "Scaling language models" (arXiv 2112.11446), appendix A.1.1.

Quality: what a text is made of. Repetition (table A1): shares of its characters in lines, paragraphs and
n-grams of words that occur more than once; an occurrence after the first counts as the duplicate.
"""

import functools
import re

import numpy as np

from experiments.data.document import Document
from experiments.data.quality.verdict import (
    Filter,
    Verdict,
    all_at_most,
    at_least,
    at_most,
    fraction,
    lines,
    paragraphs,
    within,
    words,
)

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
BULLETS = ("•", "‣", "▪", "●", "◦", "*", "-")
ELLIPSES = ("...", "…")
TOP_NGRAM = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

_LETTER = re.compile(r"[^\W\d_]")
_BASE = np.uint64(0x9E3779B97F4A7C15)


def word_count(document: Document) -> Verdict:
    """50 to 100,000 words."""
    return within(50, 100_000, len(words(document.text)), "words")


def mean_word_length(document: Document) -> Verdict:
    """3 to 10 characters a word."""
    found = words(document.text)
    return within(3, 10, sum(map(len, found)) / max(1, len(found)), "characters a word")


def symbols(document: Document) -> Verdict:
    """At most 0.1 hash signs, and 0.1 ellipses, a word."""
    text, n = document.text, max(1, len(words(document.text)))
    ellipses_a_word = sum(map(text.count, ELLIPSES)) / n
    return all_at_most(
        "symbols a word",
        {"hash signs a word": (text.count("#") / n, 0.1), "ellipses a word": (ellipses_a_word, 0.1)},
    )


def bullets(document: Document) -> Verdict:
    """At most 90 % of the lines begin with a bullet."""
    share = fraction(lines(document.text), lambda line: line.startswith(BULLETS))
    return at_most(0.9, share, "share of lines with a bullet")


def ellipses(document: Document) -> Verdict:
    """At most 30 % of the lines end with an ellipsis."""
    share = fraction(lines(document.text), lambda line: line.endswith(ELLIPSES))
    return at_most(0.3, share, "share of lines that end with an ellipsis")


def alphabetic_words(document: Document) -> Verdict:
    """At least 80 % of the words have a letter."""
    share = fraction(words(document.text), _has_letter)
    return at_least(0.8, share, "share of words with a letter")


def stop_words(document: Document) -> Verdict:
    """At least two of eight English words."""
    found = {word.lower().strip(".,;:!?\"'()") for word in words(document.text)} & STOP_WORDS
    return at_least(2, len(found), "different stop words")


def duplicate_lines(document: Document) -> Verdict:
    """At most 30 % of the lines, and 20 % of the characters in lines, are repetitions."""
    return _repeated(lines(document.text), "lines")


def duplicate_paragraphs(document: Document) -> Verdict:
    """At most 30 % of the paragraphs, and 20 % of the characters in paragraphs, are repetitions."""
    return _repeated(paragraphs(document.text), "paragraphs")


def top_ngrams(document: Document) -> Verdict:
    """The commonest n-gram of words has at most 20, 18, 16 % of the characters, for n = 2, 3, 4."""
    shares = dict.fromkeys(TOP_NGRAM, 0.0)
    for n in TOP_NGRAM:
        ngrams = _ngrams(document.text, n)
        _, first, counts = np.unique(ngrams, return_index=True, return_counts=True)
        if not len(counts) or counts.max() == 1:
            break  # no longer one occurs twice
        sizes = counts * _spans(document.text, n)[first]
        # The commonest; of equally common ones the longest.
        shares[n] = float(sizes[counts == counts.max()].max() / max(1, _size(document.text)))
    return all_at_most(
        "share of the commonest n-gram",
        {f"share of the commonest {n}-gram": (shares[n], limit) for n, limit in TOP_NGRAM.items()},
    )


def duplicate_ngrams(document: Document) -> Verdict:
    """Repeated n-grams have at most 15 … 10 % of the characters, for n = 5 … 10, each counted once."""
    shares = dict.fromkeys(DUPLICATE_NGRAMS, 0.0)
    for n in DUPLICATE_NGRAMS:
        ngrams = _ngrams(document.text, n)
        first = np.unique(ngrams, return_index=True)[1]
        if len(first) == len(ngrams):
            break  # no longer one occurs twice
        is_first = np.zeros(len(ngrams), bool)
        is_first[first] = True
        edges = np.zeros(len(ngrams) + n, np.int64)
        np.add.at(edges, np.flatnonzero(~is_first), 1)
        np.add.at(edges, np.flatnonzero(~is_first) + n, -1)
        covered = np.cumsum(edges)[:-1] > 0
        shares[n] = float(_lengths(document.text)[covered].sum() / max(1, _size(document.text)))
    return all_at_most(
        "share of repeated n-grams",
        {f"share of repeated {n}-grams": (shares[n], limit) for n, limit in DUPLICATE_NGRAMS.items()},
    )


RULES: dict[str, Filter] = {
    "word_count": word_count,
    "mean_word_length": mean_word_length,
    "symbols": symbols,
    "bullets": bullets,
    "ellipses": ellipses,
    "alphabetic_words": alphabetic_words,
    "stop_words": stop_words,
    "duplicate_lines": duplicate_lines,
    "duplicate_paragraphs": duplicate_paragraphs,
    "top_ngrams": top_ngrams,
    "duplicate_ngrams": duplicate_ngrams,
}


def _has_letter(word: str) -> bool:
    return word[0].isalpha() or _LETTER.search(word) is not None


def _repeated(items: list[str], what: str) -> Verdict:
    seen: set[str] = set()
    again = [item for item in items if item in seen or seen.add(item)]
    size = sum(map(len, again)) / max(1, sum(map(len, items)))
    return all_at_most(
        f"share of repeated {what}",
        {
            f"share of repeated {what}": (len(again) / max(1, len(items)), 0.3),
            f"share of characters in repeated {what}": (size, 0.2),
        },
    )


@functools.lru_cache(maxsize=2)
def _lengths(text: str) -> np.ndarray:
    """int64[words]: characters of each word."""
    return np.fromiter(map(len, words(text)), np.int64)


def _size(text: str) -> int:
    """Characters of all words."""
    return int(_lengths(text).sum())


@functools.lru_cache(maxsize=2)
def _word_numbers(text: str) -> np.ndarray:
    """uint64[words]: equal for equal words."""
    number: dict[str, int] = {}
    return np.array([number.setdefault(word, len(number) + 1) for word in words(text)], np.uint64)


def _ngrams(text: str, n: int) -> np.ndarray:
    """uint64[words - n + 1]: a hash of the n words from each word on."""
    numbers = _word_numbers(text)
    if len(numbers) < n:
        return numbers[:0]
    value = np.zeros(len(numbers) - n + 1, np.uint64)
    for k in range(n):
        value = value * _BASE + numbers[k : len(numbers) - n + 1 + k] * _BASE
        value ^= value >> np.uint64(29)
    return value


def _spans(text: str, n: int) -> np.ndarray:
    """int64[words - n + 1]: characters of the n words from each word on."""
    ends = np.concatenate([[0], np.cumsum(_lengths(text))])
    return ends[n:] - ends[:-n]
