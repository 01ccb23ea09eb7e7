"""Runs of words that training text shares with the items of evaluations (n-grams, Brown et al. 2020, app. C).

Give the documents that a run has read, and not those of the corpus, to hear what it has seen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.data.duplicates.words import runs, words

FEWEST = 5  # words of an item that can be told; shorter ones are everywhere by chance
BATCH_BYTES = 1 << 22


@dataclass(frozen=True)
class Overlap:
    """Of one item: runs of words that it has, and how many of them were found."""

    n_runs: int
    n_found: int

    @property
    def share(self) -> float:
        """0 where the item is too short to be told."""
        return self.n_found / max(1, self.n_runs)


class Items:
    """The runs of n words of some items, to look for in documents.

    An item of fewer words is one run; one of fewer than FEWEST has none. `found` grows with each `look`.
    """

    def __init__(self, texts: Sequence[str], n: int = 13):
        own = words([text.encode("utf-8", "replace") for text in texts])
        counts = np.bincount(own.owners, minlength=len(texts))
        hashes, owners, widths = [], [], []
        for width in {n, *(int(c) for c in counts if FEWEST <= c < n)}:
            value, first = runs(own, width)
            item = own.owners[first]
            wanted = counts[item] >= n if width == n else counts[item] == width
            hashes.append(value[wanted])
            owners.append(item[wanted])
            widths.append(np.full(wanted.sum(), width))
        self.n_items = len(texts)
        self.hashes, self.owners, self.widths = map(np.concatenate, (hashes, owners, widths))
        order = np.argsort(self.hashes, kind="stable")
        self.hashes, self.owners, self.widths = (x[order] for x in (self.hashes, self.owners, self.widths))
        self.found = np.zeros(len(order), bool)

    def look(self, documents: Sequence[bytes]) -> np.ndarray:
        """bool[len(documents)]: which UTF-8 documents have a run of an item; what they have is marked."""
        has, own = np.zeros(len(documents), bool), words(documents)
        for width in np.unique(self.widths):
            value, first = runs(own, int(width))
            left, right = (np.searchsorted(self.hashes, value, side) for side in ("left", "right"))
            there = left < right
            has[own.owners[first[there]]] = True
            edges = np.zeros(len(self.hashes) + 1, np.int64)
            np.add.at(edges, left[there], 1)
            np.add.at(edges, right[there], -1)
            self.found |= np.cumsum(edges)[:-1] > 0
        return has

    def overlaps(self) -> list[Overlap]:
        """Of each item, what has been found so far."""
        n_runs = np.bincount(self.owners, minlength=self.n_items)
        n_found = np.bincount(self.owners[self.found], minlength=self.n_items)
        return [Overlap(int(n), int(k)) for n, k in zip(n_runs, n_found)]


def report(
    items: Mapping[str, Sequence[str]], documents: Iterable[bytes], n: int = 13, least: float = 0.5
) -> dict[str, dict[str, Any]]:
    """By task: its items, how many are long enough to tell, how many are contaminated, and each item's share.

    Args:
      items: texts of the items by task.
      documents: UTF-8 text that was trained on.
      n: words of a run.
      least: share of an item's runs from which it counts as contaminated.
    """
    index = Items([text for texts in items.values() for text in texts], n)
    for batch in _batches(documents):
        index.look(batch)
    found, start = {}, 0
    overlaps = index.overlaps()
    for task, texts in items.items():
        own = overlaps[start : start + len(texts)]
        start += len(texts)
        found[task] = {
            "n_items": len(own),
            "n_told": sum(each.n_runs > 0 for each in own),
            "n_contaminated": sum(each.n_runs > 0 and each.share >= least for each in own),
            "shares": [round(each.share, 4) if each.n_runs else None for each in own],
        }
    return found


def _batches(documents: Iterable[bytes]) -> Iterable[list[bytes]]:
    batch, size = [], 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch
