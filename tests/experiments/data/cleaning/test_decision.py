"""What of a corpus is kept: whatever the order, with counts, and with bad input counted."""

import json
import lzma
import random
from collections import Counter

import pytest

from experiments.data.cleaning import decision as deciding
from experiments.data.cleaning.decision import decide
from experiments.data.document import Document
from experiments.data.quality.labelled import COPIES, half
from experiments.data.sources import left_out
from experiments.data_configs import DuplicatesConfig, QualityConfig
from tests.experiments.data.duplicates.test_minhash import edited, text
from tests.experiments.data.quality.test_rules import DROPPED, PROSE


def nothing(path: str) -> list[Document]:
    return []


def planted() -> list[tuple[str, Document]]:
    """Texts, copies, near-copies, and a line and a run of words that are in several."""
    originals = [text(seed).decode() for seed in range(60)]
    run = text(999, 50).decode()
    line = "\nAll rights are reserved by the publishers of this page.\n"
    made = [
        *originals,
        *originals[:10],
        *(edited(each.encode(), 1, 4).decode() for each in originals[10:20]),
        *(f"{text(100 + k).decode()} {run} {text(200 + k).decode()}" for k in range(4)),
        *(f"{text(300 + k).decode()}{line}{text(400 + k).decode()}" for k in range(4)),
    ]
    return [("web", Document(each)) for each in made]


EVERYTHING = DuplicatesConfig(lines=30, substring=50)


def kept(documents, quality=None, duplicates=None, **more):
    decision = decide(documents, quality, duplicates, nothing, **more)
    return list(decision.read(documents)), decision.report


def test_planted_copies_go_and_all_else_stays():
    documents = planted()
    found, report = kept(documents, duplicates=EVERYTHING)
    assert report["duplicates"]["documents"] == 10 and report["duplicates"]["near"] == 10
    assert len(found) == 68
    texts = b"\n\n".join(each for _, each in found)
    assert texts.count(text(999, 50)) == texts.count(b"All rights") == 1
    assert report["n_documents"] == 88 and report["duplicates"]["lines_repeated"] == 3


def test_what_is_kept_does_not_depend_on_the_order_or_on_batches(monkeypatch):
    documents = planted()
    expected = Counter(kept(documents, duplicates=EVERYTHING)[0])
    for seed in range(3):
        random.Random(seed).shuffle(documents)
        monkeypatch.setattr(deciding, "BATCH_BYTES", 10**seed * 1000)
        assert Counter(kept(documents, duplicates=EVERYTHING)[0]) == expected


def test_held_out_splits_keep_theirs():
    documents = [("train", Document(text(0).decode() + " more")), ("test", Document(text(0).decode()))]
    found, _ = kept(documents, duplicates=DuplicatesConfig(), first_groups=("test", "validation"))
    assert found == [("test", text(0))]


def test_documents_with_items_of_an_evaluation_go():
    question = text(7, 20).decode()
    documents = [("", Document(text(1).decode() + question)), ("", Document(text(2).decode()))]
    config = DuplicatesConfig(against="questions.jsonl")
    decision = decide(documents, None, config, lambda path: [Document(question)])
    assert decision.kept.tolist() == [False, True] and decision.report["duplicates"]["against"] == 1


def test_filters_are_counted_by_name_with_examples():
    documents = [
        ("", Document(PROSE)),
        *(("", Document(DROPPED[name])) for name in ("markup.page", "c4.lorem_ipsum")),
    ]
    found, report = kept(documents, quality=QualityConfig())
    assert found == [("", PROSE.encode())]
    counts = {name: each["n_documents"] for name, each in report["filters"].items() if each["n_documents"]}
    assert counts == {"markup.page": 1, "c4.lorem_ipsum": 1}
    assert report["filters"]["markup.page"]["examples"][0]["reason"] == "has <html>"


def test_what_is_no_text_is_counted_and_left_out(monkeypatch):
    monkeypatch.setattr(left_out, "LONGEST", 2000)
    bad = ["", " \n", "with\0NUL", "x" * 2001]
    found, report = kept(
        [("", Document(each)) for each in (*bad, PROSE, "\ud800 lone")], duplicates=EVERYTHING
    )
    assert [each for _, each in found] == [PROSE.encode(), b"? lone"]
    assert report["filters"]["unreadable"]["n_documents"] == 4


def test_nothing_is_kept_of_nothing():
    assert kept([], QualityConfig(), EVERYTHING)[0] == []
    assert kept([("", Document(""))], QualityConfig(), EVERYTHING)[0] == []


def test_chain_and_duplicates_clean_the_labelled_set(public_data):
    """By groups of what was made from one passage: of each, one clean text should stay."""
    with lzma.open(public_data / "corpora/dirty.jsonl.xz", "rt") as file:
        records = [json.loads(line) for line in file]
    documents = [Document(record.pop("text"), record) for record in records]
    documents = [document for document in documents if half(document) == 1]
    decision = decide([("", d) for d in documents], QualityConfig(), DuplicatesConfig(), nothing)
    total, gone = Counter[str](), Counter[str]()
    groups: dict[str, list[int]] = {}
    for number, document in enumerate(documents):
        label = str(document.fields["label"])
        if label == "clean" or label in COPIES:
            groups.setdefault(str(document.fields["source"]), []).append(number)
        else:
            total[label] += 1
            gone[label] += not decision.kept[number]
    wrong = 0
    for numbers in groups.values():
        labels = sorted((str(documents[k].fields["label"]) for k in numbers), key=("clean", *COPIES).index)
        n_gone = sum(not decision.kept[k] for k in numbers)
        wrong += n_gone == len(numbers)
        for place, label in enumerate(labels[1:]):
            total[label] += 1
            gone[label] += place < n_gone
    recall = {label: gone[label] / n for label, n in total.items()}
    assert min(recall.values()) >= 0.9, recall
    assert gone.total() / (gone.total() + wrong) >= 0.95, (recall, wrong)


@pytest.mark.parametrize(
    "changes, message",
    [({"near": 1.5}, "near=1.5"), ({"lines": -1}, "lines=-1; 0 turns it off"), ({"overlap": 0}, "overlap=0")],
)
def test_wrong_settings_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        DuplicatesConfig(**changes)
