"""Lines and runs of words that are there twice, against plain search; words against plain splitting."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.duplicates import exact
from experiments.data.duplicates.words import runs, words

texts = st.lists(st.text(st.sampled_from("ab cdé\n.,日本"), max_size=40), max_size=6)


@given(texts)
def test_words_are_those_between_spaces_and_lone_ideographs(documents):
    data = [document.encode() for document in documents]
    found = words(data)
    spoken = [
        data[owner][start:end].decode() for owner, start, end in zip(found.owners, found.starts, found.ends)
    ]
    expected = []
    for document in documents:
        spaced = "".join(f" {c} " if c in "日本" else " " if c in "\n.," else c for c in document)
        expected += spaced.split()
    assert spoken == expected
    same = found.values[:, None] == found.values[None, :]
    assert same.tolist() == [[a == b for a in spoken] for b in spoken]


@given(texts, st.integers(1, 9))
def test_runs_are_equal_where_their_words_are(documents, n):
    found = words([document.encode() for document in documents])
    hashes, first = runs(found, n)
    whole = [k for k in range(len(found.values) - n + 1) if found.owners[k] == found.owners[k + n - 1]]
    assert list(first) == whole
    keys = [tuple(found.values[k : k + n].tolist()) for k in first]
    assert len(set(hashes.tolist())) == len(set(keys)) == len(set(zip(hashes.tolist(), keys)))


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=12), min_size=1, max_size=4),
    st.integers(1, 4),
    st.randoms(),
)
def test_repetitions_are_those_of_plain_search(documents, n, rng):
    """Whatever the order: the one in the document of the lowest rank stays."""
    rank = rng.sample(range(len(documents)), len(documents))
    pieces = exact.word_runs([" ".join(each).encode() for each in documents], n)
    found = exact.repeated(pieces, np.array(rank))
    first: dict[tuple[str, ...], tuple[int, int]] = {}
    expected = set()
    for owner in sorted(range(len(documents)), key=rank.__getitem__):
        for k in range(len(documents[owner]) - n + 1):
            place = first.setdefault(tuple(documents[owner][k : k + n]), (owner, k))
            if place[0] != owner or k >= place[1] + n:
                expected.add((owner, 2 * k))
    assert set(zip(pieces.owners[found].tolist(), pieces.starts[found].tolist())) == expected


def test_a_planted_run_of_fifty_words_is_cut_once():
    rng = random.Random(0)
    vocabulary = [f"word{k}" for k in range(5000)]
    run = " ".join(rng.choices(vocabulary, k=50))
    others = [" ".join(rng.choices(vocabulary, k=80)) for _ in range(4)]
    documents = [f"{others[0]} {run}, {others[1]}".encode(), f"{others[2]} {run} {others[3]}".encode()]
    pieces = exact.word_runs(documents, 50)
    spans = exact.cuts(pieces, exact.repeated(pieces, np.array([1, 0])))
    assert list(spans) == [0]
    assert exact.cut(documents[0], spans[0]).decode() == f"{others[0]} , {others[1]}"
    pieces = exact.word_runs(documents, 51)
    assert not exact.repeated(pieces, np.array([1, 0])).any()


def test_lines_are_cut_with_their_breaks_and_short_ones_stay():
    documents = [b"one\nThis line is in both of them.\nend", b"two\nthis line, is in both of THEM\nend\n"]
    pieces = exact.join([exact.lines(documents[:1], 10), exact.lines(documents[1:], 10, first=1)])
    spans = exact.cuts(pieces, exact.repeated(pieces, np.array([0, 1])))
    assert {k: exact.cut(documents[k], own) for k, own in spans.items()} == {1: b"two\nend\n"}


def test_nothing_is_found_in_nothing():
    pieces = exact.join([])
    assert not len(exact.repeated(pieces, np.empty(0, np.int64)))
    assert exact.cuts(pieces, np.zeros(0, bool)) == {}
    assert not len(words([]).values) and not len(words([b"", b" . "]).values)
