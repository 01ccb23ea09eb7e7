"""The solver against known answers."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from scaling.laws import CHINCHILLA
from scaling.solver import BLOCK, Lanes, best, solve, values

TRUTH = np.array([0.5, 0.3, 0.25, 0.35, 0.4])
X = {"n_params": np.geomspace(0.05, 20, 30), "n_tokens": np.tile(np.geomspace(0.1, 10, 6), 5)}
STARTS = np.array(CHINCHILLA.starts)


def lanes(y, delta=1e-3, weight=None):
    nothing = np.zeros((1, 5))
    weight = np.ones((1, len(X["n_params"]))) if weight is None else weight
    return Lanes(np.atleast_2d(y), weight, np.array([delta]), nothing, nothing)


def test_planted_parameters_are_found_from_every_start():
    found = solve(CHINCHILLA, X, lanes(np.log(values(CHINCHILLA, TRUTH[None], X)[0])), STARTS)
    assert found.converged.all()
    np.testing.assert_allclose(found.theta, np.tile(TRUTH, (len(STARTS), 1)), rtol=1e-4)


def test_an_outlier_does_not_move_a_robust_fit():
    y = np.log(values(CHINCHILLA, TRUTH[None], X)[0])
    y[4] += 1.0
    robust = best(solve(CHINCHILLA, X, lanes(y, delta=1e-4), STARTS), len(STARTS)).theta[0]
    np.testing.assert_allclose(robust, TRUTH, rtol=1e-2)


def test_zero_weight_is_the_same_as_no_row():
    y = np.log(values(CHINCHILLA, TRUTH[None], X)[0]) + 0.01 * np.sin(np.arange(30.0))
    weight = np.ones((1, 30))
    weight[0, 20:] = 0
    broken = y.copy()
    broken[20:] = 9.0
    a, b = (best(solve(CHINCHILLA, X, lanes(v, weight=weight), STARTS), len(STARTS)) for v in (y, broken))
    np.testing.assert_allclose(a.theta, b.theta, rtol=1e-6)


def test_the_objective_matches_scipys_minimum():
    y = np.log(values(CHINCHILLA, TRUTH[None], X)[0]) + 0.01 * np.random.default_rng(0).standard_normal(30)

    def objective(theta):
        E, A, B, alpha, beta = theta
        r = np.abs(y - np.log(E + A * X["n_params"] ** -alpha + B * X["n_tokens"] ** -beta))
        return 1e4 * np.sum(np.where(r <= 1e-3, r**2 / 2, 1e-3 * (r - 5e-4)))

    ours = best(solve(CHINCHILLA, X, lanes(y), STARTS), len(STARTS))
    low, high = np.array(CHINCHILLA.bounds).T
    bounds = list(zip(low + 1e-9, high))
    theirs = min(optimize.minimize(objective, s, bounds=bounds, tol=1e-14).fun for s in STARTS)
    assert 1e4 * ours.objective[0] <= theirs * (1 + 1e-6)
    assert 1e4 * ours.objective[0] == pytest.approx(objective(ours.theta[0]), rel=1e-9)


def test_a_parameter_that_wants_to_leave_its_box_stops_on_the_bound():
    pure = np.array([0.0, 0.6, 0.4, 0.1, 0.12])
    y = np.log(values(CHINCHILLA, pure[None], X)[0]) - 0.05 * np.log(X["n_params"]) ** 2
    found = best(solve(CHINCHILLA, X, lanes(y), STARTS), len(STARTS))
    assert found.theta[0, 0] == 0.0 and found.converged[0]


def test_a_strong_prior_holds_its_parameters():
    y = np.log(values(CHINCHILLA, TRUTH[None], X)[0])
    mean, precision = np.array([[0.2, 0, 0, 0.6, 0.6]]), np.array([[1e9, 0, 0, 1e9, 1e9]])
    found = solve(CHINCHILLA, X, lanes(y)._replace(mean=mean, precision=precision), STARTS[:1])
    np.testing.assert_allclose(found.theta[0, [0, 3, 4]], [0.2, 0.6, 0.6], atol=1e-6)


MANY = 2 * BLOCK // 30 + 3  # more than two cores take at a time


def test_lanes_are_independent_and_may_be_any_number():
    rng = np.random.default_rng(0)
    clean = np.log(values(CHINCHILLA, TRUTH[None], X)[0])
    y = clean + 0.01 * rng.standard_normal((MANY, 30))
    all_at_once = solve(CHINCHILLA, X, lanes(y), np.repeat(STARTS[4:5], MANY, 0))
    alone = solve(CHINCHILLA, X, lanes(y[-1:]), STARTS[4:5])
    assert all_at_once.theta.shape == (MANY, 5)
    np.testing.assert_allclose(all_at_once.theta[-1], alone.theta[0], rtol=1e-6)


def test_float64_stays_inside():
    solve(CHINCHILLA, X, lanes(np.log(values(CHINCHILLA, TRUTH[None], X)[0])), STARTS[:1])
    assert jnp.ones(2).dtype == jnp.float32
    assert values(CHINCHILLA, TRUTH[None], X).dtype == np.float64
