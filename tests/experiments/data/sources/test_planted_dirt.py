"""Planted dirt: of training text only, the same every time, labelled; what the default chain finds of it."""

import random
from collections import Counter

from experiments.data.cleaning.decision import decide
from experiments.data.document import Document
from experiments.data.sources import planted_dirt
from experiments.data.splits import split_of
from experiments.data_configs import DuplicatesConfig, QualityConfig

WORDS = ["".join(random.Random(i).choices("abcdefghijklmnopqrstuvwxyz", k=3 + i % 7)) for i in range(3000)]
SENTENCES = [
    "The {} of the {} had not been {} for a {}",
    "When they came to the {} there was a {} in it, and {} with him",
    "In the {} he would {} with a {} and be {} by her",
    "A {} was to be {} on the {}, but it is not {}",
    "All of the {} were in an {} from their {} to the {}",
]


def clean(seed: int) -> Document:
    """Twenty sentences with the function words of English and other words drawn by chance."""
    rng = random.Random(seed)
    sentences = [rng.choice(SENTENCES).format(*rng.sample(WORDS, 4)) for _ in range(20)]
    return Document("".join(sentence + rng.choice((". ", ".\n")) for sentence in sentences).strip())


def is_training(text: str) -> bool:
    return split_of(text.encode()) == "train"


def test_dirt_is_labelled_of_training_text_and_the_same_every_time():
    documents = [clean(seed) for seed in range(400)]
    found = list(planted_dirt.records(documents, is_training))
    assert found == list(planted_dirt.records(documents, is_training))
    assert [d.text for d in found if d.fields["label"] == "clean"] == [d.text for d in documents]
    dirty = [d for d in found if d.fields["label"] != "clean"]
    assert {d.fields["label"] for d in dirty} == set(planted_dirt.KINDS)
    assert all(is_training(d.text) and d.fields["clean"] == 0 for d in dirty)
    assert 0.6 * 384 < len(dirty) < 0.85 * 400


def test_the_default_chain_finds_each_kind():
    """The made set of a fresh clone; limits were chosen on another, see test_labelled."""
    found = list(planted_dirt.records(map(clean, range(400)), is_training))
    decision = decide((("", d) for d in found), QualityConfig(), DuplicatesConfig(), lambda path: [])
    total, gone = Counter[str](), Counter[str]()
    for document, is_kept in zip(found, decision.kept):
        total[document.fields["label"]] += 1
        gone[document.fields["label"]] += not is_kept
    copies = sum(total[kind] for kind in ("duplicate", "near_duplicate"))
    wrong = gone["clean"] - (
        copies - gone["duplicate"] - gone["near_duplicate"]
    )  # a copy may stay for its original
    for kind in ("markup", "boilerplate", "gibberish", "truncated"):
        assert gone[kind] >= 0.9 * total[kind], kind
    assert wrong <= 0.05 * (gone.total() - wrong), (gone, total)


def test_any_text_can_be_made_dirty():
    for text in ("a", "One word.", "x" * 300, clean(1).text):
        for kind in planted_dirt.KINDS:
            assert planted_dirt.dirt(text, kind, random.Random(0)).strip()
