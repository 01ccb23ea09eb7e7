"""The words of documents as hashes, in arrays: to compare runs of them.

Words are compared in lower case and without punctuation. Each Chinese or Japanese character is a word of its
own, as no spaces part them; of other scripts without spaces (Thai, Khmer) what stands between spaces is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BASE = 0x9E3779B97F4A7C15  # odd and without pattern (2^64 divided by the golden ratio)
_LONGEST = 64  # bytes of a word that count
_NORMAL = bytes(
    ord(chr(b).lower()) if b < 128 and chr(b).isalnum() else b if b >= 128 else ord(" ") for b in range(256)
)
_IDEOGRAPHS = range(0xE3, 0xEA)  # first UTF-8 bytes of U+3000 to U+9FFF


@dataclass(frozen=True)
class Words:
    """All words of some documents, one after the other: a hash uint64[n], the number of their document
    int64[n], and where in its UTF-8 text they start and end, int64[n]."""

    values: np.ndarray
    owners: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def words(documents: Sequence[bytes]) -> Words:
    """The words of UTF-8 documents."""
    data = np.frombuffer(b" ".join([*documents, b""]).translate(_NORMAL), np.uint8)
    is_word = data != ord(" ")
    before = np.concatenate([[False], is_word[:-1]])
    is_start = is_word & ~before
    lone = np.flatnonzero((data >= _IDEOGRAPHS.start) & (data < _IDEOGRAPHS.stop))
    is_start[lone] = True
    after = lone + 3
    is_start[after[is_word[after]]] = True
    starts = np.flatnonzero(is_start)
    if not len(starts):
        none = np.empty(0, np.int64)
        return Words(none.astype(np.uint64), none, none, none)
    # A word ends where the next one starts, less the spaces between.
    n_bytes = np.add.reduceat(is_word.astype(np.int64), starts)
    inside = np.arange(len(data) - starts[0]) - np.repeat(
        starts - starts[0], np.diff(np.append(starts, len(data)))
    )
    weights = np.where(inside < _LONGEST, _POWERS[np.minimum(inside, _LONGEST - 1)], np.uint64(0))
    part = np.where(is_word, data, 0)[starts[0] :].astype(np.uint64) * weights
    values = _mixed(np.add.reduceat(part, starts - starts[0]))
    offsets = np.cumsum([0, *(len(document) + 1 for document in documents)])
    owners = np.searchsorted(offsets, starts, "right") - 1
    begin = starts - offsets[owners]
    return Words(values, owners, begin, begin + n_bytes)


def runs(found: Words, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The runs of n words within a document: (hash uint64[k], number of the first word int64[k])."""
    count = len(found.values) - n + 1
    if count <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    value, width, power = np.zeros(len(found.values), np.uint64), 0, found.values
    for exponent in range(n.bit_length()):  # runs of 1, 2, 4, … words, joined where n has that binary digit
        step = 1 << exponent
        if n & step:
            value = value[: len(power) - width] * np.uint64(pow(_BASE, step, 1 << 64)) + power[width:]
            width += step
        if len(power) > step:
            power = power[:-step] * np.uint64(pow(_BASE, step, 1 << 64)) + power[step:]
    first = np.flatnonzero(found.owners[:count] == found.owners[n - 1 :])
    return _mixed(value[:count][first]), first


def _mixed(value: np.ndarray) -> np.ndarray:
    """All bits depend on all bits (SplitMix64's finalizer)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


_POWERS = np.array([pow(_BASE, k + 1, 1 << 64) for k in range(_LONGEST)], np.uint64)
