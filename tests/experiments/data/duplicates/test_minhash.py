"""MinHash: unbiased estimates, planted duplicates found and no others, the same in any order."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.duplicates import minhash
from experiments.data.splits import letters

WORDS = ["".join(random.Random(i).choices("abcdefghijklmnopqrstuvwxyz", k=2 + i % 9)) for i in range(3000)]


def text(seed: int, n_words: int = 150) -> bytes:
    return " ".join(random.Random(seed).choices(WORDS, k=n_words)).encode()


def edited(document: bytes, seed: int, n: int) -> bytes:
    """n words replaced."""
    rng, found = random.Random(seed), document.split(b" ")
    for place in rng.sample(range(len(found)), n):
        found[place] = rng.choice(WORDS).encode()
    return b" ".join(found)


def shingles(document: bytes) -> set[bytes]:
    found = letters(document)
    return {found[i : i + minhash.SHINGLE] for i in range(len(found) - minhash.SHINGLE + 1)}


def jaccard(one: bytes, other: bytes) -> float:
    """Of the sets of shingles themselves."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def planted(near: float) -> list[bytes]:
    """Texts in threes: one, one that is unrelated, and an edited copy of similarity `near` or barely more."""
    documents = []
    for seed in range(80):
        original = text(seed)
        n = next(n for n in range(75) if jaccard(original, edited(original, seed, n + 1)) < near)
        documents += [original, text(10_000 + seed), edited(original, seed, n)]
    return documents


@pytest.mark.parametrize("near", [0.8, 0.6])
def test_planted_near_duplicates_are_found_and_no_others(near):
    signature = minhash.signatures(planted(near))
    found = np.flatnonzero(minhash.near_duplicates(signature, near))
    right = found[found % 3 == 2]
    assert len(right) >= 0.95 * 80 and len(right) >= 0.99 * len(found)


def test_of_a_pair_one_stays_whatever_has_precedence():
    signature = minhash.signatures(planted(0.8))
    gone = np.flatnonzero(minhash.near_duplicates(signature, 0.8))
    assert len(gone // 3) == len(set(gone // 3))
    order = np.random.default_rng(0).permutation(len(signature))
    other = order[minhash.near_duplicates(signature[order], 0.8)]
    assert set(gone // 3) == set(other // 3) and set(gone) != set(other)


def test_a_signature_does_not_depend_on_what_is_beside_it():
    documents = [text(seed, 5 + seed * 7) for seed in range(40)] + [b"", b"ab", "日本語のテキスト".encode()]
    together = minhash.signatures(documents)
    assert np.array_equal(together, np.concatenate([minhash.signatures([each]) for each in documents]))
    assert minhash.similarity(together[-1], together[:-1]).max() < 0.1


@pytest.mark.parametrize("n_words", [6, 30, 400])
def test_estimates_are_unbiased(n_words):
    """Short texts fill few bins, and the others borrow."""
    pairs = [(text(seed, n_words), edited(text(seed, n_words), seed, n_words // 6)) for seed in range(300)]
    one, other = (minhash.signatures(list(texts)) for texts in zip(*pairs))
    errors = (one == other).mean(axis=1) - [jaccard(*pair) for pair in pairs]
    assert abs(errors.mean()) < 4 * errors.std() / np.sqrt(len(pairs))
    if n_words == 400:
        assert errors.std() < 0.06


@settings(max_examples=20)
@given(st.floats(0.3, 1.0))
def test_bands_bring_pairs_at_the_limit_together(near):
    r = minhash.n_rows(near)
    assert 1 - (1 - near**r) ** (minhash.BINS // r) >= minhash.DETECTED and minhash.limit(near) <= near


def test_letters_are_compared():
    signature = minhash.signatures([b"Once upon a time, in a far land", b"once upon a TIME in a far land!!"])
    assert np.array_equal(signature[0], signature[1])
