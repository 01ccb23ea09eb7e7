"""How well filters tell labelled dirt from clean text: for tests, benchmarks, and one's own labels.

A labelled record has the fields `label` ("clean", or the kind of dirt) and `source`, the passage that it was
made from. Halves are split by passage, so that limits may be chosen on one half and reported on the other.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from experiments.data.document import Document

COPIES = ("duplicate", "near_duplicate")  # labels of what is dirt only beside the text it copies


@dataclass(frozen=True)
class FilterAccuracy:
    """Of a filter, or a chain: share of each kind of dirt that it drops, and of what it drops that is dirt.

    `dropped` and `total` count documents by label.
    """

    dropped: Counter[str]
    total: Counter[str]

    @property
    def recall(self) -> dict[str, float]:
        """By kind of dirt."""
        return {label: self.dropped[label] / n for label, n in self.total.items() if label != "clean"}

    @property
    def precision(self) -> float:
        """1 where nothing is dropped."""
        n = self.dropped.total()
        return 1 - self.dropped["clean"] / n if n else 1.0


def half(document: Document) -> int:
    """0 or 1, the same for all that was made from one passage; of what was made from none, by its text."""
    passage = str(document.fields["source"]).split("|")[0]
    key = passage if "#" in passage else document.text
    return hashlib.sha256(key.encode()).digest()[-1] % 2


def score(documents: Iterable[Document], drops: Callable[[Document], bool]) -> FilterAccuracy:
    """The score of what drops documents one by one. Copies are counted as clean: alone each of them is."""
    dropped, total = Counter[str](), Counter[str]()
    for document in documents:
        label = str(document.fields["label"])
        label = "clean" if label in COPIES else label
        total[label] += 1
        dropped[label] += drops(document)
    return FilterAccuracy(dropped, total)
