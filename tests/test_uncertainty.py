"""Forecast intervals against simulated truths: they hold about as often as they say, and are not too wide."""

import json

import numpy as np
import pytest

from scaling.laws.chinchilla import CHINCHILLA_LOOSE
from scaling.solver import values
from scaling.uncertainty import Forecast, posterior, resample
from tests.planted import best_size, chinchilla, isoflop_points

BUDGETS = np.array([1e18, 10**18.5, 1e19])  # a decade, as a small study has it
AHEAD = 9.0
TRUTHS = (  # exponents and irreducible shares as published tables have them
    {"E": 1.8, "A": 400.0, "B": 1500.0, "alpha": 0.35, "beta": 0.36},
    {"E": 1.7, "A": 480.0, "B": 400.0, "alpha": 0.34, "beta": 0.28},
    {"E": 0.8, "A": 70.0, "B": 120.0, "alpha": 0.22, "beta": 0.23},
    {"E": 2.1, "A": 250.0, "B": 1e5, "alpha": 0.3, "beta": 0.55},
)


def bent(n_params, n_tokens, truth):
    """A mildly wrong world: profiles more curved than Chinchilla's, an excess that falls more slowly."""
    flops = 6 * n_params * n_tokens
    off = np.log(n_params / best_size(flops, **truth))
    excess = chinchilla(n_params, n_tokens, **truth) - truth["E"]
    return truth["E"] + excess * (1 + 0.04 * off**2) * (flops / 1e19) ** 0.015


def simulate(loss, noise, n_tables, n_draws, seed):
    """(share of intervals that hold the new run's loss, median half-width, median absolute error)."""
    rng = np.random.default_rng(seed)
    held, half, error = [], [], []
    for truth in TRUTHS:
        n, d = isoflop_points(BUDGETS, sizes=6, truth=truth)
        units = {"n_params": np.exp(np.log(n).mean()), "n_tokens": np.exp(np.log(d).mean()), "loss": 1.0}
        x = {"n_params": n / units["n_params"], "n_tokens": d / units["n_tokens"]}
        clean = np.log(loss(n, d, truth))
        y = clean + noise * rng.standard_normal((n_tables, len(n)))
        floor = y.min(axis=1, keepdims=True)
        known = posterior(CHINCHILLA_LOOSE, x, y - floor, np.arange(len(n)), n_draws, 5, rng)
        flops = AHEAD * BUDGETS[-1]
        new_n = best_size(flops, **truth)
        new = {"n_params": np.array([new_n]), "n_tokens": np.array([flops / 6 / new_n])}
        truly = np.log(loss(new["n_params"], new["n_tokens"], truth)) + noise * rng.standard_normal(n_tables)
        new = {c: v / units[c] for c, v in new.items()}
        for i in range(n_tables):
            reach = float((x["n_params"] * x["n_tokens"]).max())
            f = Forecast(
                CHINCHILLA_LOOSE.name,
                known.theta[i],
                known.draws[i],
                known.noise[i],
                13.0,
                known.drift[i],
                reach,
            )
            told, lo, hi = (np.log(v[0]) + floor[i, 0] for v in f.predict(CHINCHILLA_LOOSE, new, 0.9))
            held.append(lo <= truly[i] <= hi)
            half.append((hi - lo) / 2)
            error.append(abs(told - truly[i]))
    return np.mean(held), np.median(half), np.median(error)


@pytest.mark.parametrize("world, largest_error", [("chinchilla", 0.015), ("bent", 0.035)])
def test_intervals_for_a_run_nine_times_larger_hold_as_often_as_they_say(world, largest_error):
    """Also where the excess falls more slowly than any Chinchilla law's, which the prior does not expect."""
    loss = (lambda n, d, truth: chinchilla(n, d, **truth)) if world == "chinchilla" else bent
    coverage, half_width, error = simulate(loss, noise=0.01, n_tables=75, n_draws=80, seed=0)
    print(f"{world}: coverage {coverage:.3f}, half-width {half_width:.2%}, median error {error:.2%}")
    assert 0.8 <= coverage <= 0.98
    assert half_width < 0.045 and error < largest_error


def test_quieter_runs_give_narrower_intervals():
    loss = lambda n, d, truth: chinchilla(n, d, **truth)  # noqa: E731
    _, loud, _ = simulate(loss, noise=0.01, n_tables=8, n_draws=80, seed=1)
    _, quiet, _ = simulate(loss, noise=0.002, n_tables=8, n_draws=80, seed=1)
    assert quiet < 0.7 * loud


def test_the_noise_is_read_off_the_residuals_outliers_or_not():
    n, d = isoflop_points(BUDGETS, sizes=12, truth=TRUTHS[0])
    x = {"n_params": n / 1e8, "n_tokens": d / 1e10}
    rng = np.random.default_rng(0)
    y = np.log(chinchilla(n, d, **TRUTHS[0])) + 0.01 * rng.standard_normal((40, len(n)))
    y[20:, 5] += 0.5
    y -= y.min(axis=1, keepdims=True)
    noise = posterior(CHINCHILLA_LOOSE, x, y, np.arange(len(n)), 0, 5, rng).noise
    assert np.mean(noise[:20]) == pytest.approx(0.01, rel=0.15)
    assert np.mean(noise[20:]) == pytest.approx(0.01, rel=0.3)


def test_a_law_that_fails_inside_the_data_widens_the_forecast():
    n, d = isoflop_points(BUDGETS, sizes=8, truth=TRUTHS[0])
    x, rng = {"n_params": n / 1e8, "n_tokens": d / 1e10}, np.random.default_rng(0)
    loss = chinchilla(n, d, **TRUTHS[0])
    broken = np.where(6 * n * d > 5e18, loss * 1.1, loss)
    y = np.log([loss / loss.min(), broken / broken.min()]) + 0.002 * rng.standard_normal((2, len(n)))
    drift = posterior(CHINCHILLA_LOOSE, x, y, np.arange(len(n)), 0, 5, rng).drift
    assert drift[1] > 2 * drift[0]


def test_runs_are_drawn_whole():
    run = np.array([0, 0, 1, 2, 2, 2])
    weight = resample(run, 200, np.random.default_rng(0))
    assert np.all(weight[:, 0] == weight[:, 1]) and np.all(weight[:, 3] == weight[:, 5])
    np.testing.assert_array_equal(weight[:, [0, 2, 3]].sum(axis=1), 3)


def test_a_forecast_without_draws_has_a_value_and_no_interval():
    theta = np.array(CHINCHILLA_LOOSE.starts[0])
    x = {"n_params": np.ones(2), "n_tokens": np.ones(2)}
    f = Forecast(CHINCHILLA_LOOSE.name, theta, np.zeros((0, 7)), 0.01, 10.0, 0.01, 1.0)
    loss, lo, hi = f.predict(CHINCHILLA_LOOSE, x, 0.9)
    np.testing.assert_allclose(loss, values(CHINCHILLA_LOOSE, theta[None], x)[0])
    assert np.isnan(lo).all() and np.isnan(hi).all()
    assert Forecast.from_json(json.loads(json.dumps(f.to_json()))).to_json() == f.to_json()
