"""Counts of a part of a corpus. `a + b` is the count of both parts; no order of adding changes the sum.

So the same functions serve one process, several, or a Beam CombinePerKey: the zero is `Composition()`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

STEPS = 4  # buckets of a document's length: so many for each doubling
MOST_TEXTS = 1 << 18  # texts that are kept apart to count copies, in hashes of 8 bytes


@dataclass(frozen=True)
class Amount:
    """How much text: documents, UTF-8 bytes, characters, tokens, and the squares that intervals need."""

    documents: int = 0
    bytes: int = 0
    characters: int = 0
    tokens: int = 0
    bytes_squared: int = 0
    tokens_squared: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(*(a + b for a, b in zip(vars(self).values(), vars(other).values())))


@dataclass(frozen=True)
class Texts:
    """Distinct texts by hash, with how often each occurs: all, or those whose hash ends in `level` zero bits.

    The level rises when there are more than MOST_TEXTS, so that memory stays bounded (Gibbons 2001, distinct
    sampling): all copies of a text are in or out together, and the level of a union does not depend on order.
    """

    copies: Mapping[int, int] = field(default_factory=dict)
    level: int = 0

    @staticmethod
    def of(hashes: Iterable[int]) -> Texts:
        """The texts with these 64-bit hashes, one for each document."""
        counted: dict[int, int] = {}
        level = 0
        for value in hashes:
            if not value & ((1 << level) - 1):
                counted[value] = counted.get(value, 0) + 1
                if len(counted) > MOST_TEXTS:
                    counted, level = _thin(counted, level)
        return Texts(counted, level)

    def __add__(self, other: Texts) -> Texts:
        level = max(self.level, other.level)
        both = add(self.copies, other.copies)
        mask = (1 << level) - 1
        kept = {value: n for value, n in both.items() if not value & mask}
        return Texts(*_thin(kept, level))

    @property
    def share_of_copies(self) -> float:
        """Share of documents that repeat the text of another, the first of each text not counted."""
        n = sum(self.copies.values())
        return 1 - len(self.copies) / n if n else 0.0


def _thin(counted: dict[int, int], level: int) -> tuple[dict[int, int], int]:
    while len(counted) > MOST_TEXTS:
        level += 1
        counted = {value: n for value, n in counted.items() if not value & ((1 << level) - 1)}
    return counted, level


@dataclass(frozen=True)
class Scores:
    """What a filter measured: documents by value (`rounded`), and the least and most of those that stay."""

    what: str
    least: float
    most: float
    documents: Mapping[float, int]

    def __add__(self, other: Scores) -> Scores:
        return dataclasses.replace(self, documents=add(self.documents, other.documents))


@dataclass(frozen=True)
class Composition:
    """What is in a corpus, or in a part of it.

    Attributes:
      total: all documents; their tokens only where a vocabulary is given.
      looked_at: those that were looked into: all, or a sample. What follows is of these.
      groups: question ("language", "domain", a field's name) -> answer -> amount.
      lengths: bucket (`bucket`) -> documents.
      removed_by: filter -> documents that it would remove.
      scores: filter -> what it measured, where it measures something.
      texts: distinct texts of all documents.
      skipped: reason -> what the source left out.
    """

    total: Amount = field(default_factory=Amount)
    looked_at: Amount = field(default_factory=Amount)
    groups: Mapping[str, Mapping[str, Amount]] = field(default_factory=dict)
    lengths: Mapping[int, int] = field(default_factory=dict)
    removed_by: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, Scores] = field(default_factory=dict)
    texts: Texts = field(default_factory=Texts)
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Composition) -> Composition:
        return Composition(
            total=self.total + other.total,
            looked_at=self.looked_at + other.looked_at,
            groups=add(self.groups, other.groups),
            lengths=add(self.lengths, other.lengths),
            removed_by=add(self.removed_by, other.removed_by),
            scores=add(self.scores, other.scores),
            texts=self.texts + other.texts,
            skipped=add(self.skipped, other.skipped),
        )


def merge(parts: Iterable[Composition]) -> Composition:
    """The sum. Parts of like size are added to each other, so that long ones are not copied at each step."""
    sums: list[tuple[int, Composition]] = []  # (parts in it, their sum), the largest first
    for part in parts:
        n = 1
        while sums and sums[-1][0] == n:
            part, n = sums.pop()[1] + part, 2 * n
        sums.append((n, part))
    return functools.reduce(operator.add, (part for _, part in sums), Composition())


def bucket(n_bytes: int) -> int:
    """The bucket of a length of at least 1: STEPS for each doubling, bucket 0 begins at 1 byte."""
    return math.floor(STEPS * math.log2(n_bytes))


def bucket_edge(number: float) -> float:
    """Bytes at which a bucket begins."""
    return 2 ** (number / STEPS)


def rounded(value: float) -> float:
    """A score to three significant digits, so that the different ones are few; -0 is 0."""
    return float(f"{value:.3g}") + 0.0


def add(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> dict[Any, Any]:
    """Sums by key of mappings of numbers, amounts or of such mappings, in the order of their first keys."""
    both = dict(a)
    for key, value in b.items():
        if key not in both:
            both[key] = value
        else:
            both[key] = add(both[key], value) if isinstance(value, Mapping) else both[key] + value
    return both
