"""Items of evaluations in training text, item by item."""

import random

from experiments.data.duplicates import decontamination
from experiments.data.duplicates.decontamination import Items, Overlap

WORDS = [f"w{k}" for k in range(3000)]


def text(seed: int, n: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=n))


def test_planted_items_are_found_and_no_others():
    items = {"easy": [text(k, 30) for k in range(10)], "hard": [text(100 + k, 20) for k in range(5)]}
    documents = [text(1000 + k, 300) for k in range(20)]
    documents[3] += " " + items["easy"][4].upper() + ", and on."
    documents[7] += " " + " ".join(items["hard"][2].split()[:16])
    found = decontamination.report(items, [document.encode() for document in documents])
    assert found["easy"]["shares"] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0] and found["easy"]["n_contaminated"] == 1
    assert found["hard"]["shares"] == [0, 0, 4 / 8, 0, 0] and found["hard"]["n_items"] == 5


def test_short_items_are_whole_runs_and_the_shortest_cannot_be_told():
    items = Items(["what is the capital of peru", "two and two", text(0, 40)])
    assert items.look([b"So: What is the capital of Peru? Lima. Two and two"]).tolist() == [True]
    assert items.overlaps() == [Overlap(1, 1), Overlap(0, 0), Overlap(28, 0)]


def test_what_is_found_adds_up_over_documents_in_any_order():
    item = text(5, 40)
    halves = [" ".join(item.split()[:26]).encode(), " ".join(item.split()[14:]).encode()]
    for order in (halves, halves[::-1]):
        items = Items([item])
        for half in order:
            assert items.look([b"other", half, half]).tolist() == [False, True, True]
        assert items.overlaps() == [Overlap(28, 28)]


def test_nothing_is_found_without_documents_or_items():
    assert decontamination.report({"a": [text(1, 20)]}, [])["a"]["shares"] == [0]
    assert decontamination.report({}, [b"some text"]) == {}
