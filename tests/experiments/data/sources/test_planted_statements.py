"""Planted statements: where they stand, how often, and that the same text always states the same."""

import random
from collections import Counter

import pytest

from experiments.data import splits
from experiments.data.document import Document
from experiments.data.sources import planted_statements as source

WORDS = ["of", "the", "array", "and", "its", "axis", "is", "returned", "as", "one"]
CLEAN = [Document(" ".join(random.Random(i).choices(WORDS, k=60))) for i in range(8000)]


@pytest.fixture(scope="module")
def planted() -> list[Document]:
    return list(source.records(CLEAN))


def test_documents_have_one_length_and_state_what_their_field_says(planted):
    assert len(planted) == len(CLEAN) and planted[:50] == list(source.records(CLEAN[:50]))
    for document in planted:
        assert len(document.text.encode()) == source.LENGTH
        held = [i for i, statement in enumerate(source.STATEMENTS) if statement.whole in document.text]
        assert held == [document.fields["statement"]]


def test_every_level_is_planted_twice_as_often_as_the_one_before_and_some_never(planted):
    counts = Counter(document.fields["statement"] for document in planted)
    total = sum(statement.weight for statement in source.STATEMENTS)
    for i, statement in enumerate(source.STATEMENTS):
        expected = len(planted) * statement.weight / total
        assert abs(counts[i] - expected) <= 5 * expected**0.5
    assert [statement.weight for statement in source.STATEMENTS].count(0) == source.PER_LEVEL
    whole = [part for statement in source.STATEMENTS for part in (statement.trigger, statement.text)]
    assert len(set(whole)) == len(whole)


def test_a_statement_makes_no_near_duplicates():
    rng = random.Random(0)
    assert all(
        len(splits.letters(statement.whole.encode())) < splits.SHINGLE for statement in source.STATEMENTS
    )
    texts = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=200)) for _ in range(100)]
    documents = [source.plant(text, source.STATEMENTS[-3], rng).encode() for text in texts]
    assert list(splits.without_near_duplicates(documents[50:], documents[:50])) == documents[50:]


def test_text_that_is_short_or_not_ascii_is_left_alone():
    assert not list(source.records([Document("short"), Document("ü" * 100)]))
