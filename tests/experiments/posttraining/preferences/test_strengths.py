"""Likelihoods by hand and summing to one; planted strengths found again."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.posttraining.preferences.strengths import (
    bradley_terry_logps,
    comparisons_of_tie,
    fit_strengths,
    plackett_luce_logps,
)

STRENGTHS_K = jnp.array([0.0, 1.0, -0.5, 2.0])


def test_probabilities_of_all_rankings_sum_to_one():
    rankings_NM = jnp.array(list(itertools.permutations(range(4))))
    assert jnp.exp(plackett_luce_logps(STRENGTHS_K, rankings_NM)).sum() == pytest.approx(1, rel=1e-5)


def test_a_ranking_is_a_softmax_after_the_other():
    e = np.exp(np.asarray(STRENGTHS_K, float))
    expected = e[1] / (e[1] + e[0] + e[2]) * e[0] / (e[0] + e[2])
    found = plackett_luce_logps(STRENGTHS_K, jnp.array([[1, 0, 2, -1], [1, 0, 2, -1]]))
    np.testing.assert_allclose(np.exp(found), [expected, expected], rtol=1e-5)


def test_of_two_items_it_is_bradley_and_terrys():
    winners_N, losers_N = jnp.array([0, 3, 2]), jnp.array([1, 2, 0])
    logps_N = bradley_terry_logps(STRENGTHS_K, winners_N, losers_N)
    padded_NM = jnp.stack([winners_N, losers_N, jnp.full(3, -1)], axis=1)
    np.testing.assert_allclose(plackett_luce_logps(STRENGTHS_K, padded_NM), logps_N, rtol=1e-5)
    np.testing.assert_allclose(np.exp(logps_N[:2]), [1 / (1 + np.e), 1 / (1 + np.exp(-2.5))], rtol=1e-5)


def test_gradients_are_finite_with_padding():
    gradient = jax.grad(lambda s: plackett_luce_logps(s, jnp.array([[1, 0, -1, -1]])).sum())(STRENGTHS_K)
    np.testing.assert_allclose(gradient, np.array([-1, 1, 0, 0]) / (1 + np.e), rtol=1e-5)


def test_strengths_of_exact_shares_of_wins_are_found():
    """Each two items compared, winners by their exact probabilities: the truth is the likeliest."""
    true = np.array([1.2, -0.3, 0.4, -1.3])
    pairs = list(itertools.permutations(range(4), 2))
    weights = [float(1 / (1 + np.exp(true[j] - true[i]))) for i, j in pairs]
    np.testing.assert_allclose(fit_strengths(pairs, 4, weights), true - true.mean(), atol=1e-6)


def test_planted_strengths_are_found_from_rankings_of_parts():
    """By Gumbel noise (Yellott 1977), three of five items a ranking; 4,000 of them leave an error of 0.04."""
    rng, true = np.random.default_rng(0), np.array([1.0, 0.5, 0.0, -0.5, -1.0])
    rankings = []
    for _ in range(4000):
        items = rng.choice(5, 3, replace=False)
        rankings.append(items[np.argsort(-(true[items] + rng.gumbel(size=3)))].tolist())
    found = fit_strengths(rankings, 5)
    np.testing.assert_allclose(found, true, atol=0.12)
    assert abs(found.mean()) < 1e-9


def test_a_tie_is_half_a_win_for_each():
    (one, half), (other, half_too) = comparisons_of_tie(0, 1)
    assert (one, other, half, half_too) == ((0, 1), (1, 0), 0.5, 0.5)
    won, weights = [(0, 1), one, other], [1.0, half, half_too]  # a win and a tie: 3 to 1
    np.testing.assert_allclose(fit_strengths(won, 2, weights), [np.log(3) / 2, -np.log(3) / 2], atol=1e-7)


@pytest.mark.parametrize(
    ("rankings", "unbeaten"),
    [([(0, 1), (1, 2), (2, 1)], "0"), ([(0, 1), (1, 0), (0, 2), (2, 3), (3, 2)], "0, 1"), ([(0, 1)], "0")],
)
def test_items_that_never_lost_have_no_strength(rankings, unbeaten):
    n_items = max(max(ranking) for ranking in rankings) + 1
    with pytest.raises(ValueError, match=f"items {unbeaten} never lost"):
        fit_strengths(rankings, n_items)


@pytest.mark.parametrize("ranking", [(0, 0), (0, 2), (0, -1)])
def test_rankings_of_other_items_are_refused(ranking):
    with pytest.raises(ValueError, match="each item once, of 0 to 1"):
        fit_strengths([ranking, (0, 1), (1, 0)], 2)
