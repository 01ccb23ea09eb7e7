"""Diversity of samples: cases that can be worked out by hand, and what holds for any samples."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.evaluate.trust import diversity

SAMPLES = st.lists(st.lists(st.integers(0, 3), max_size=8), min_size=2, max_size=6)


def bleu(candidate, references, max_n=4):
    """BLEU as its definition has it, against each reference in turn."""
    product = 1.0
    for n in range(1, max_n + 1):
        grams = [tuple(candidate[i : i + n]) for i in range(len(candidate) - n + 1)]
        said = [[tuple(ref[i : i + n]) for i in range(len(ref) - n + 1)] for ref in references]
        clipped = sum(min(grams.count(g), max(each.count(g) for each in said)) for g in set(grams))
        if n == 1 and clipped == 0:
            return 0.0
        product *= (clipped or 0.1) / max(len(grams), 1)
    nearest = min((abs(len(ref) - len(candidate)), len(ref)) for ref in references)[1]
    return product ** (1 / max_n) * min(1.0, math.exp(1 - nearest / len(candidate)))


def test_self_bleu_of_a_case_by_hand():
    """`a b c d` against `a b c e` and `x`: 3/4, 2/3, 1/2 and, of the 4-gram that is not there, 0.1 / 1."""
    samples = ["abcd", "abce", "x"]
    alike = (3 / 4 * 2 / 3 * 1 / 2 * 0.1) ** 0.25
    assert diversity.self_bleu(samples) == pytest.approx((alike + alike + 0.0) / 3)


@given(SAMPLES)
def test_self_bleu_is_the_mean_of_bleu_against_all_others(samples):
    each = [bleu(one, samples[:i] + samples[i + 1 :]) if one else 0.0 for i, one in enumerate(samples)]
    assert diversity.self_bleu(samples) == pytest.approx(np.mean(each))


def test_distinct_n_counts_over_all_samples():
    samples = ["aba", "ab", "c"]  # ab, ba, ab
    assert diversity.distinct_n(samples, 1) == 3 / 6
    assert diversity.distinct_n(samples, 2) == 2 / 3
    assert math.isnan(diversity.distinct_n(samples, 4))


def test_uniform_samples_have_an_expected_distinctness_of_one_whatever_their_length():
    rng = np.random.default_rng(0)
    for length in (8, 64):
        samples = rng.integers(0, 20, (64, length)).tolist()
        assert diversity.expected_distinct_n(samples, 2, 20) == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match="vocab_size=1"):
        diversity.expected_distinct_n(["aa"], 1, 1)


def test_entropy_of_samples_and_their_unique_fraction():
    samples = ["a", "a", "b", "c"]
    corrected = 0.5 * math.log(2) + 0.5 * math.log(4) + 2 / 8
    assert diversity.sample_entropy(samples) == pytest.approx(corrected)
    assert diversity.unique_fraction(samples) == 3 / 4


@given(SAMPLES)
def test_the_same_samples_twice_are_less_diverse(samples):
    once, twice = diversity.measures(samples), diversity.measures(samples * 2)
    assert twice["unique"] == once["unique"] / 2
    assert twice["self_bleu"] >= once["self_bleu"] - 1e-12
    if any(samples):
        assert twice["distinct_1"] == pytest.approx(once["distinct_1"] / 2)


def test_one_sample_has_no_diversity():
    with pytest.raises(ValueError, match="2 or more"):
        diversity.measures(["ab"])
