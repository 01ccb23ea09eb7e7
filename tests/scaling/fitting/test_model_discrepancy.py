"""Correlated errors of a law: valid covariances, still at the largest budget, and read off residuals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scaling.fitting.model_discrepancy import ModelDiscrepancy, estimate_discrepancy, locations
from scaling.laws import LAWS

coordinates = arrays(float, (9, 2), elements=st.floats(-4, 3))


@given(coordinates, st.floats(0, 0.1), st.floats(0, 0.3))
def test_covariances_are_symmetric_and_never_negative(at, profile, drift):
    covariance = ModelDiscrepancy(profile, drift, 0.0).between(at, at)
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-15)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


def test_the_drift_is_nothing_at_the_top_and_grows_away_from_it():
    at = np.array([[0.0, 0.0], [-1.0, 0.0], [-2.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    covariance = ModelDiscrepancy(0.0, 0.1, 0.0).between(at, at)
    spread = np.sqrt(np.diag(covariance))
    assert spread[0] == 0 and spread[1] == pytest.approx(0.1 / np.sqrt(3))
    assert spread[2] == pytest.approx(0.1 * np.sqrt(8 / 3)) and spread[3] == 0
    assert np.all(covariance[1:3, 3:] == 0), "what small budgets lose says nothing of larger ones"
    assert covariance[1, 2] > 0


def test_strengths_are_read_off_what_the_law_leaves_over():
    rng, n = np.random.default_rng(0), 80
    at = np.stack([rng.uniform(-2, 0, n), rng.uniform(-2, 2, n)], axis=1)
    slopes, nothing = np.ones((n, 1)), np.zeros(1)

    def found(profile, drift):
        covariance = ModelDiscrepancy(profile, drift, 0.0).between(at, at) + 0.005**2 * np.eye(n)
        residual = np.linalg.cholesky(covariance) @ rng.standard_normal(n)
        error, noise = estimate_discrepancy(at, residual - residual.mean(), slopes, np.ones(n), nothing)
        return error.profile, error.drift, noise

    quiet, bent, drifting = found(0.0, 0.0), found(0.03, 0.0), found(0.0, 0.12)
    for *_, noise in (quiet, bent, drifting):
        assert noise == pytest.approx(0.005, rel=0.4)
    assert quiet[0] < 0.006 and quiet[1] < 0.015
    assert bent[0] > 0.01 and drifting[1] > 0.04


def test_locations_are_of_laws_that_know_compute():
    x = {"n_params": np.array([1.0, 100.0]), "n_tokens": np.array([10.0, 1.0])}
    at, of_flops = (
        locations(LAWS["chinchilla"], x),
        locations(LAWS["broken"], {"flops": np.array([1e3, 1e5])}),
    )
    assert at is not None and of_flops is not None
    np.testing.assert_allclose(at, [[1.0, -np.log(10) / 2], [2.0, np.log(100) / 2]], rtol=1e-12)
    assert of_flops[:, 0].tolist() == [3.0, 5.0]
    assert locations(LAWS["pass_at_k"], {"k": np.ones(2)}) is None
