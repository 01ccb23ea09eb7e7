"""pass@k against counting, and where naive formulas overflow."""

import itertools
import math

import numpy as np
import pytest

from models.decoding.pass_at_k import pass_at_k


@pytest.mark.parametrize("n, k", [(1, 1), (5, 1), (5, 3), (6, 6)])
def test_equals_counting_all_subsets(n, k):
    for c in range(n + 1):
        right = [True] * c + [False] * (n - c)
        subsets = list(itertools.combinations(right, k))
        expected = sum(map(any, subsets)) / len(subsets)
        assert pass_at_k(n, c, k) == pytest.approx(expected, abs=1e-14)


def test_is_stable_for_many_samples():
    found = pass_at_k(100_000, np.array([0, 1, 50, 100_000]), 10_000)
    expected = [0.0, 0.1, 1 - math.comb(99_950, 10_000) / math.comb(100_000, 10_000), 1.0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_is_unbiased():
    rng = np.random.default_rng(0)
    correct = rng.binomial(10, 0.2, 200_000)
    assert pass_at_k(10, correct, 4).mean() == pytest.approx(1 - 0.8**4, abs=3e-3)


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="k=5"):
        pass_at_k(4, 1, 5)
    with pytest.raises(ValueError, match="0 to 4"):
        pass_at_k(4, np.array([1, 5]), 2)
