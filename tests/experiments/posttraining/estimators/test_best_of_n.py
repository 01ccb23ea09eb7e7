"""Best-of-n: the estimate over all subsets, and the bound on how far it goes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.posttraining import enumerable
from experiments.posttraining.estimators.best_of_n import kl_from_samples, weights
from scaling.laws.downstream.repeated_sampling import kl_of_best_of_n


@pytest.mark.parametrize(("n_samples", "n"), [(1, 1), (5, 1), (6, 3), (7, 7), (7, 2)])
def test_expected_value_of_the_best_is_the_mean_over_all_subsets(n_samples, n):
    proxy_N, gold_N = np.random.default_rng(n).normal(size=(2, n_samples))
    subsets = [list(subset) for subset in itertools.combinations(range(n_samples), n)]
    best = [subset[np.argmax(proxy_N[subset])] for subset in subsets]
    order = np.argsort(proxy_N)
    assert weights(n_samples, n) @ proxy_N[order] == pytest.approx(proxy_N[best].mean())
    assert weights(n_samples, n) @ gold_N[order] == pytest.approx(gold_N[best].mean())


def test_weights_are_chances_also_of_thousands_of_samples():
    assert weights(5000, 700).sum() == pytest.approx(1)
    assert weights(5000, 700)[-1] == pytest.approx(700 / 5000)
    with pytest.raises(ValueError, match="n=6 of 5 samples"):
        weights(5, 6)


@given(st.integers(1, 64), st.lists(st.floats(-3, 3), min_size=6, max_size=6), st.integers(0, 3))
def test_divergence_of_best_of_n_is_below_its_bound(n, logits, n_equal):
    """Whatever the probabilities, and with equal rewards."""
    logps_R = np.array(logits) - np.log(np.exp(logits).sum())
    rewards_R = np.maximum(np.arange(6), n_equal)
    best_R = enumerable.best_of_n_logps(logps_R, rewards_R, n)
    kl = np.sum(np.exp(best_R) * np.where(np.exp(best_R) > 0, best_R - logps_R, 0))
    assert -1e-9 <= kl <= kl_of_best_of_n(n) + 1e-6


def test_the_bound_is_reached_by_many_responses_of_different_rewards():
    logps_R = np.full(20_000, -np.log(20_000))
    best_R = enumerable.best_of_n_logps(logps_R, np.arange(20_000), 16)
    likely_R = np.exp(best_R) > 0
    kl = np.sum(np.exp(best_R[likely_R]) * (best_R - logps_R)[likely_R])
    assert kl == pytest.approx(kl_of_best_of_n(16), abs=1e-3)


@given(st.integers(1, 64), st.lists(st.floats(-1, 1), min_size=6, max_size=6), st.integers(0, 99))
def test_divergence_is_exact_where_samples_show_every_response(n, logits, seed):
    logps_R = np.array(logits) - np.log(np.exp(logits).sum())
    rewards_R = np.random.default_rng(seed).permutation(6)
    best_R = enumerable.best_of_n_logps(logps_R, rewards_R, n)
    exact = np.sum(np.exp(best_R) * np.where(np.exp(best_R) > 0, best_R - logps_R, 0))
    drawn = np.concatenate([np.arange(6), np.random.default_rng(seed).integers(0, 6, 94)])
    found = kl_from_samples(n, drawn, logps_R[drawn], rewards_R[drawn])
    assert found == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("n", [1, 2, 16, 64])
def test_divergence_is_the_bound_where_no_response_comes_twice(n):
    rare = np.full(64, np.log(1e-6))
    proxy = np.random.default_rng(n).normal(size=64)
    assert kl_from_samples(n, np.arange(64), rare, proxy) == pytest.approx(kl_of_best_of_n(n), abs=1e-6)


def test_a_likely_response_among_rare_ones_makes_the_divergence_smaller():
    """Half of all samples are the worst response, the others differ: F is flat there, and known above."""
    n, rng = 4, np.random.default_rng(0)
    responses = np.concatenate([np.zeros(100, int), np.arange(1, 101)])
    logps = np.where(responses == 0, np.log(0.5), np.log(1e-6))
    proxy = np.where(responses == 0, -1.0, rng.uniform(size=200))
    u = (np.arange(1_000_000) + 0.5) / 1_000_000
    density = np.where(u < 0.5, 0.5**n / 0.5, n * u ** (n - 1))
    assert kl_from_samples(n, responses, logps, proxy) == pytest.approx(
        np.mean(density * np.log(density)), abs=1e-5
    )
