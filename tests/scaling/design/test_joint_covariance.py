"""The covariance of a target and of runs to come: against a joint Gaussian of everything, and by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scaling import laws
from scaling.design.design_target import find_target
from scaling.design.joint_covariance import (
    DRIFT,
    NOISE,
    PROFILE,
    TYPICAL_RUNS,
    JointCovariance,
    joint_covariance,
    remaining_variance,
)
from scaling.fitting.model_discrepancy import RIDGE, ModelDiscrepancy, locations
from scaling.fitting.uncertainty import EXCESS
from scaling.laws.law import linearised
from tests.scaling.optimum.test_frontier import known, spread
from tests.scaling.planted import TRUTH, best_size, chinchilla, isoflop_runs

TABLE = pd.DataFrame({"n_params": [1e8, 3e8, 2e9], "n_tokens": [2e9, 1e9, 4e9]})
TABLE["flops"] = 6 * TABLE["n_params"] * TABLE["n_tokens"]


def seen_fit(noise: float, n_runs: int, profile: float = 0.0, drift: float = 0.0):
    """Chinchilla's law, known, with `n_runs` runs behind it and errors of these sizes."""
    fit, x = known(TRUTH, draws=spread(TRUTH, 40)), isoflop_runs((1e17, 1e18), sizes=n_runs // 2).table
    seen = {name: x[name].to_numpy() for name in ("n_params", "n_tokens")}
    error = ModelDiscrepancy(profile, drift, 17.0)
    base = replace(fit.forecast, noise=noise, x=seen, y=np.log(x["loss"].to_numpy()), spread=np.ones(n_runs))
    return replace(fit, forecast=replace(base, discrepancy=error))


def pooled(found: float, typical: float, n_left: int) -> float:
    return (n_left * found**2 + TYPICAL_RUNS * typical**2) / (n_left + TYPICAL_RUNS)


def test_the_loss_of_a_run_reduces_the_variance_by_its_covariance_squared_over_its_variance():
    joint = JointCovariance(np.array([[4.0, 2.0], [2.0, 3.0]]), np.array([1.0]), 0.0)
    assert remaining_variance(joint, [0]) == pytest.approx(4 - 2**2 / (3 + 1))
    assert remaining_variance(joint, []) == 4


def test_a_run_reduces_the_variance_as_an_information_matrix_says():
    rng = np.random.default_rng(0)
    slopes, gradient, noise = rng.normal(size=(12, 4)), rng.normal(size=4), rng.uniform(0.1, 0.5, 12)
    prior = np.diag([1.0, 0.5, 2.0, 1.0])
    rows = np.vstack([gradient, slopes])
    joint = JointCovariance(rows @ prior @ rows.T, noise**2, 0.0)
    chosen = [1, 4, 5, 9]
    seen = slopes[chosen] / noise[chosen, None]
    exact = gradient @ np.linalg.solve(np.linalg.inv(prior) + seen.T @ seen, gradient)
    assert remaining_variance(joint, chosen) == pytest.approx(exact, rel=1e-9)
    assert remaining_variance(joint, []) == pytest.approx(gradient @ prior @ gradient)


@given(arrays(float, (7, 3), elements=st.floats(-3, 3)), arrays(float, 6, elements=st.floats(0.1, 3)))
def test_each_further_run_leaves_less_and_the_order_does_not_matter(root, noise):
    joint = JointCovariance(root @ root.T, noise, 0.0)
    left = [remaining_variance(joint, list(range(n))) for n in range(7)]
    assert np.all(np.diff(left) <= 1e-9) and left[-1] >= -1e-9
    assert remaining_variance(joint, [5, 3, 1, 0, 2, 4]) == pytest.approx(left[-1], abs=1e-9)


def test_the_covariance_is_that_of_a_joint_gaussian_of_law_error_and_noise(fit):
    """The error at every place is drawn from its root, so all unknowns are independent before the runs."""
    wanted = find_target(fit, "loss@1e19", 3e17)
    joint, forecast = joint_covariance(fit, wanted, TABLE), fit.forecast
    law, n_left = laws.find(forecast.law), len(forecast.y) - len(forecast.center)
    rows = {c: np.concatenate([wanted.x[c], TABLE[c]]) / forecast.units[c] for c in law.columns}
    everywhere = {c: np.concatenate([forecast.x[c], rows[c]]) for c in law.columns}
    at = locations(law, everywhere)
    found = forecast.discrepancy
    error = ModelDiscrepancy(
        pooled(found.profile, PROFILE, n_left) ** 0.5,
        pooled(found.drift, DRIFT, n_left) ** 0.5,
        at[: len(forecast.y), 0].max(),
    )
    values, vectors = np.linalg.eigh(error.between(at, at) + error.ahead(at, at))
    root = vectors * np.sqrt(np.maximum(values, 0))
    slopes = np.hstack([linearised(law, forecast.center, everywhere)[1], root])
    precision = np.append(np.array(law.prior)[:, 1] ** -2.0 + RIDGE, np.ones(len(root)))
    variance = pooled(forecast.noise, NOISE, n_left)
    seen, new = slopes[: len(forecast.y)], slopes[len(forecast.y) :]
    information = np.diag(precision) + (seen / (variance * forecast.spread**2)[:, None]).T @ seen
    np.testing.assert_allclose(joint.shared, new @ np.linalg.solve(information, new.T), rtol=1e-5, atol=1e-12)
    assert joint.floor == pytest.approx(variance)


@pytest.mark.parametrize("n_runs, weight", [(4, 0.0), (16, 11 / 21)])
def test_noise_found_in_few_runs_counts_less_than_what_is_typical(n_runs, weight):
    """Of 16 runs the law's 5 parameters leave 11 degrees of freedom, against TYPICAL_RUNS = 10."""
    fit = seen_fit(0.02, n_runs)
    joint = joint_covariance(fit, find_target(fit, "loss@1e19", 1e18), TABLE)
    assert joint.floor == pytest.approx(weight * 0.02**2 + (1 - weight) * NOISE**2)


def test_a_run_off_the_frontier_is_noisier_by_its_excess():
    fit = seen_fit(NOISE, 16)
    flops = np.full(3, 1e20)
    sizes = best_size(flops, **TRUTH) * [1.0, 4.0, 0.25]
    table = pd.DataFrame({"n_params": sizes, "n_tokens": flops / (6 * sizes), "flops": flops})
    loss = chinchilla(sizes, table["n_tokens"].to_numpy(), **TRUTH)
    excess = np.log(loss / loss[0])
    assert excess[1:].min() > EXCESS / 2
    joint = joint_covariance(fit, find_target(fit, "a", 1e18), table)
    np.testing.assert_allclose(joint.noise, NOISE**2 * (1 + (excess / EXCESS) ** 2), rtol=1e-6)


@pytest.mark.parametrize("target, power", [("a", False), ("n_params@1e21", True)])
def test_a_best_size_has_no_noise_and_is_as_uncertain_as_the_law_s_parameters(target, power):
    """By slopes of a = beta / (alpha + beta) and N* = (alpha A / (beta B))^(1 / (alpha + beta)) (C / 6)^a."""
    fit = seen_fit(0.004, 16, 0.003, 0.01)
    joint, theta = joint_covariance(fit, find_target(fit, target, 1e18), TABLE), fit.forecast.theta
    law = laws.find("chinchilla")
    _, A, B, alpha, beta = theta
    both, log_ratio = alpha + beta, np.log(alpha * A / (beta * B))
    by_alpha, by_beta = -beta / both**2, alpha / both**2
    slopes = np.array([0, 0, 0, by_alpha, by_beta])
    if power:
        slopes = slopes * np.log(1e21 / 6) - np.array([0, 0, 0, 1, 1]) * log_ratio / both**2
        slopes += np.array([0, 1 / A, -1 / B, 1 / alpha, -1 / beta]) / both
    error = ModelDiscrepancy(
        pooled(0.003, PROFILE, 11) ** 0.5,
        pooled(0.01, DRIFT, 11) ** 0.5,
        locations(law, fit.forecast.x)[:, 0].max(),
    )
    at, seen = locations(law, fit.forecast.x), linearised(law, theta, fit.forecast.x)[1]
    errors = error.between(at, at) + pooled(0.004, NOISE, 11) * np.eye(16)
    precision = np.diag(np.array(law.prior)[:, 1] ** -2.0 + RIDGE)
    expected = slopes @ np.linalg.solve(seen.T @ np.linalg.solve(errors, seen) + precision, slopes)
    assert joint.shared[0, 0] == pytest.approx(expected, rel=1e-4) and joint.floor == 0
