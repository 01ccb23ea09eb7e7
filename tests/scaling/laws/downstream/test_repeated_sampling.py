"""pass@k and best-of-n against counting all subsets."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.laws.downstream.repeated_sampling import best_of_n, kl_of_best_of_n, pass_at_k


@given(st.integers(1, 8), st.data())
def test_pass_at_k_counts_the_subsets_with_a_right_sample(n, data):
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at_k(n, correct, k) == pytest.approx(np.mean([any(subset) for subset in subsets]))


def test_pass_at_k_of_many_problems_and_samples():
    predicted = pass_at_k(10_000, np.array([0, 1, 5000, 10_000]), 100)
    exact = [1 - math.comb(10_000 - c, 100) / math.comb(10_000, 100) for c in (0, 1, 5000, 10_000)]
    assert predicted == pytest.approx(exact)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=7), st.data())
def test_best_of_n_is_the_mean_over_all_subsets(scores, data):
    n = data.draw(st.integers(1, len(scores)))
    exact = np.mean([max(subset) for subset in combinations(scores, n)])
    assert best_of_n(np.array(scores), n) == pytest.approx(exact, abs=1e-9)


def test_best_of_n_works_on_many_problems():
    scores = np.random.default_rng(0).normal(size=(3, 4, 50))
    assert best_of_n(scores, 5).shape == (3, 4)
    assert best_of_n(scores, 50) == pytest.approx(scores.max(axis=-1))
    assert best_of_n(scores, 1) == pytest.approx(scores.mean(axis=-1))


@pytest.mark.parametrize("n", [1, 4, 100])
def test_divergence_of_best_of_n_is_that_of_its_density(n):
    quantile = (np.arange(200_000) + 0.5) / 200_000  # best-of-n has density n q^(n - 1) at quantile q
    density = n * quantile ** (n - 1)
    exact = np.mean(density * np.log(np.maximum(density, 1e-300)))
    assert kl_of_best_of_n(n) == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: pass_at_k(5, 2, 6), "k=6; it must be between 1 and the number of samples, 5"),
        (lambda: pass_at_k(5, 6, 2), "correct must be between 0"),
        (lambda: best_of_n(np.ones(3), 4), "n=4"),
    ],
)
def test_impossible_numbers_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
