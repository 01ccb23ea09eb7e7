"""Counts merge: any cutting and any order give the counts of the whole."""

import dataclasses

import pytest
from hypothesis import given, strategies

from experiments.data.composition import counts
from experiments.data.composition.counts import Amount, Composition, Texts, bucket, bucket_edge, merge
from experiments.data.composition.counts_file import read_counts, to_text
from experiments.data.composition.survey import Questions, look_into, text_hash
from experiments.data.document import Document
from experiments.data.quality.verdict import at_least

DOCUMENTS = strategies.lists(
    strategies.tuples(strategies.text(min_size=1, max_size=20), strategies.sampled_from("ab")), max_size=30
)
QUESTIONS = Questions(
    identify=None,
    fields=("part",),
    count_tokens=len,
    filters={"length": lambda document: at_least(9, len(document.text) - 10, "length")},
)


@given(DOCUMENTS, strategies.integers(1, 7))
def test_parts_add_up_to_the_whole_in_any_order(pairs, size):
    documents = [Document(text, {"part": part}) for text, part in pairs]
    parts = [look_into(documents[i : i + size], QUESTIONS) for i in range(0, len(documents) or 1, size)]
    whole = look_into(documents, QUESTIONS)
    assert merge(parts) == merge(reversed(parts)) == whole
    assert whole.total.documents == len(documents)
    assert sum(whole.lengths.values()) == len(documents)


def test_counts_are_read_as_they_were_written(tmp_path):
    documents = [Document(text, {"part": "ä"}) for text in ("a", "a", "b" * 40)]
    found = dataclasses.replace(look_into(documents, QUESTIONS), skipped={"empty": 3})
    path = tmp_path / "a.counts.json"
    path.write_text(to_text(found))
    assert read_counts(path) == found and read_counts(path) + found == found + found
    for damaged in (
        '{"format": 1}',
        '{"format": 2}',
        to_text(found)[:-9],
    ):
        path.write_text(damaged)
        with pytest.raises(ValueError, match=r"counts\.json (is|holds)"):
            read_counts(path)


def test_amounts_are_those_of_the_texts():
    found = look_into([Document("a"), Document("éé")], Questions(identify=None, count_tokens=lambda text: 3))
    assert found.total == Amount(
        documents=2, bytes=5, characters=3, tokens=6, bytes_squared=17, tokens_squared=18
    )
    assert found.lengths == {bucket(1): 1, bucket(4): 1} and bucket(4) == 8 and bucket_edge(8) == 4


def test_copies_are_documents_beyond_the_first_of_their_text():
    assert Texts.of([1, 2, 2, 3, 3, 3]).share_of_copies == 0.5
    assert Texts.of([]).share_of_copies == 0.0
    assert Composition() + Composition() == Composition()


def test_texts_beyond_memory_are_sampled_by_hash_whatever_the_order(monkeypatch):
    """Every second text stands twice: a third of the documents are copies."""
    hashes = [text_hash(str(i)) for i in range(4000)]
    hashes += hashes[::2]
    exact = Texts.of(hashes).share_of_copies
    monkeypatch.setattr(counts, "MOST_TEXTS", 500)
    parts = [Texts.of(hashes[i::3]) for i in range(3)]
    whole = Texts.of(hashes)
    assert whole == parts[0] + parts[1] + parts[2] == parts[2] + (parts[1] + parts[0])
    assert whole.level > 0 and len(whole.copies) <= 500
    assert exact == pytest.approx(1 / 3) and abs(whole.share_of_copies - exact) < 0.04
