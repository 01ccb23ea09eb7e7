"""On labelled web-like text (public data): what filters drop, and what the default chain does."""

import json
import lzma

import pytest

from experiments.data.document import Document
from experiments.data.quality import chain, classifier, perplexity
from experiments.data.quality.labelled import COPIES, FilterAccuracy, half, score
from experiments.data_configs import QualityConfig


@pytest.fixture(scope="module")
def labelled(public_data) -> list[Document]:
    path = public_data / "corpora/dirty.jsonl.xz"
    if not path.is_file():
        pytest.skip(f"no labelled text at {path}")
    with lzma.open(path, "rt") as file:
        records = [json.loads(line) for line in file]
    return [Document(record.pop("text"), record) for record in records]


@pytest.fixture(scope="module")
def held_out(labelled) -> list[Document]:
    """The half that no limit was chosen on."""
    return [document for document in labelled if half(document) == 1]


@pytest.fixture(scope="module")
def novels(public_data) -> list[str]:
    """Clean text of other books."""
    with lzma.open(public_data / "corpora/train.jsonl.xz", "rt") as file:
        texts = [json.loads(line)["text"] for line in file]
    return [text[:1500] for text in texts[::5]]


def of(filters, documents) -> FilterAccuracy:
    return score(documents, lambda document: not chain.judge(filters, document)[1].keep)


def test_the_default_chain_finds_each_kind_of_dirt(held_out):
    found = of(chain.make(QualityConfig(), lambda path: []), held_out)
    assert set(found.recall) == {"markup", "gibberish", "boilerplate", "truncated"}
    assert min(found.recall.values()) >= 0.9, found
    assert found.precision >= 0.95, found


def test_filters_with_text_to_learn_from_need_no_rules_of_english(held_out, novels):
    learned = perplexity.filters(novels)
    by_bits = of({"perplexity": learned["perplexity"]}, held_out)
    assert by_bits.recall["markup"] == by_bits.recall["boilerplate"] == 1
    assert by_bits.recall["gibberish"] >= 0.7  # the rest are shuffled words, which `word_order` finds
    gibberish = [d for d in held_out if d.fields["label"] in ("clean", "gibberish", *COPIES)]
    by_order = of({"word_order": learned["word_order"]}, gibberish)
    assert by_order.recall["gibberish"] >= 0.9 and by_order.precision >= 0.8


def test_a_classifier_learns_the_kinds_from_the_other_half(labelled, held_out):
    pytest.importorskip("sklearn")
    shown = [document for document in labelled if half(document) == 0]
    clean = [d.text for d in shown if d.fields["label"] in ("clean", *COPIES)]
    unclean = [d.text for d in shown if d.fields["label"] not in ("clean", *COPIES)]
    found = of({"classifier": classifier.classifier(classifier.fit(clean, unclean))}, held_out)
    assert found.recall["markup"] == found.recall["boilerplate"] == 1 and found.precision >= 0.95
