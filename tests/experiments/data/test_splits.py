"""Splits: stable, of the stated sizes, and without near-duplicates across them (checked by other means)."""

import itertools
import random

import numpy as np
import pytest

from experiments.data import splits
from experiments.data.splits import HELD_OUT, SHINGLE, SplitCorpus, letters, split_of

WORDS = [bytes(random.Random(i).choices(b"abcdefghijklmnopqrstuvwxyz", k=2 + i % 9)) for i in range(3000)]


def text(seed: int, n_words: int = 80) -> bytes:
    return b" ".join(random.Random(seed).choices(WORDS, k=n_words))


def texts_of(split: str, n: int) -> list[bytes]:
    found = (made for seed in itertools.count() if split_of(made := text(seed)) == split)
    return list(itertools.islice(found, n))


def edited(document: bytes, seed: int, fraction: float) -> bytes:
    """Some of the words replaced."""
    rng, words = random.Random(seed), document.split(b" ")
    for position in rng.sample(range(len(words)), int(fraction * len(words))):
        words[position] = rng.choice(WORDS)
    return b" ".join(words)


def in_train(variants) -> bytes:
    """The first of some variants that hashes into train."""
    return next(variant for variant in variants if split_of(variant) == "train")


def overlap(one: bytes, other: bytes) -> float:
    """Share of the runs of SHINGLE letters of the shorter text that the other has, by plain sets."""
    a, b = ({t[i : i + SHINGLE] for i in range(len(t) - SHINGLE + 1)} for t in (letters(one), letters(other)))
    return len(a & b) / max(1, min(len(a), len(b)))


def test_split_has_the_stated_fractions():
    counts = {split: 0 for split in ("train", *HELD_OUT)}
    for seed in range(20_000):
        counts[split_of(b"document %d" % seed)] += 1
    assert counts["test"] == pytest.approx(400, abs=80) and counts["validation"] == pytest.approx(400, abs=80)


def test_split_ignores_case_spacing_and_punctuation():
    for seed in range(300):
        document = text(seed)
        assert split_of(document) == split_of(document.upper().replace(b" ", b",\n ") + b".")


def test_document_keeps_its_split_when_others_are_added():
    few, more = [text(seed) for seed in range(1000)], [text(seed) for seed in range(2000)]
    before, after = SplitCorpus(lambda: few), SplitCorpus(lambda: more)
    for split in ("train", *HELD_OUT):
        assert set(before.read(split)) <= set(after.read(split))


def test_unrelated_documents_are_all_kept():
    documents = [text(seed) for seed in range(3000)]
    corpus = SplitCorpus(lambda: documents)
    kept = [document for split in ("train", *HELD_OUT) for document in corpus.read(split)]
    assert sorted(kept) == sorted(documents)
    assert corpus.n_assigned == {split: len(list(corpus.read(split))) for split in ("train", *HELD_OUT)}


@pytest.mark.parametrize("batch_bytes", [1, 1 << 22])
def test_planted_near_duplicates_do_not_cross(monkeypatch, batch_bytes):
    monkeypatch.setattr(splits, "BATCH_BYTES", batch_bytes)
    held_out = texts_of("validation", 10) + texts_of("test", 10)
    planted = []
    for document in held_out:
        other = [text(10**6 + i, 20) for i in range(100)]
        planted += [
            in_train(edited(document, seed, 0.04) for seed in range(100)),  # a few words changed
            in_train(
                b" ".join([t, document, t]) for t in (text(10**7 + i, 400) for i in range(100))
            ),  # inside
            in_train(document[: len(document) * 3 // 4 + i] for i in range(100)),  # cut off
            in_train(document + b" " + t for t in other),  # continued
        ]
    unrelated = texts_of("train", 200)
    documents = unrelated + held_out + planted
    random.Random(0).shuffle(documents)
    corpus = SplitCorpus(lambda: documents)
    train = list(corpus.read("train"))
    assert sorted(train) == sorted(unrelated)
    assert corpus.n_assigned["train"] - len(train) == len(planted)
    assert max(overlap(document, kept) for document in held_out for kept in train) < 0.1
    assert sorted(itertools.chain(corpus.read("validation"), corpus.read("test"))) == sorted(held_out)


def test_near_duplicates_do_not_cross_between_validation_and_test():
    (tested,) = texts_of("test", 1)
    copy = next(made for i in range(10**5) if split_of(made := edited(tested, i, 0.03)) == "validation")
    corpus = SplitCorpus(lambda: [tested, copy, *texts_of("validation", 3)])
    assert list(corpus.read("test")) == [tested]
    assert copy not in corpus.read("validation") and corpus.n_assigned["validation"] == 4


def test_documents_with_their_components_are_split_as_their_texts_are():
    texts = [text(seed) for seed in range(1000)]
    plain, tagged = SplitCorpus(lambda: texts), SplitCorpus(lambda: enumerate(texts), lambda pair: pair[1])
    for split in ("train", *HELD_OUT):
        assert [texts[i] for i, _ in tagged.read(split)] == list(plain.read(split))


def test_shared_boilerplate_does_not_empty_the_corpus():
    licence = text(10**6, 30)  # a third of each document, in every one of them
    documents = [licence + b" " + text(seed) for seed in range(6000)]
    corpus = SplitCorpus(lambda: documents)
    assert len(list(corpus.read("train"))) == corpus.n_assigned["train"]


def test_shingles_are_hashes_of_runs_of_letters():
    document = text(1, 300)
    values, owners = splits.shingles([b"x" * 10, document, document.upper()])
    n = len(letters(document)) - SHINGLE + 1
    assert (owners == 1).sum() == pytest.approx(n / 4, rel=0.2) and not (owners == 0).any()
    assert np.array_equal(values[owners == 1], values[owners == 2])
    assert len(np.unique(values)) == (owners == 1).sum()
