"""First-order answers against problems that are solved again."""

import numpy as np

from scaling.fitting.diagnostics import linearised_fit, resampled
from scaling.fitting.solver import ROUGH, Problems, best_of_starts, solve
from scaling.laws import CHINCHILLA
from scaling.laws.law import scaled_values

TRUTH = np.array([0.6, 0.3, 0.3, 0.35, 0.37])
NONE = np.zeros((1, 5))


def table(rows, seed=0):
    rng = np.random.default_rng(seed)
    x = {name: np.exp(rng.normal(0, 1.5, rows)) for name in CHINCHILLA.columns}
    return x, scaled_values(CHINCHILLA, TRUTH[None], x)[0] + 0.005 * rng.standard_normal(rows)


def optimum(x, y, delta):
    problems = Problems(y[None], np.ones((1, len(y))), np.array([delta]), NONE, NONE)
    starts = np.array(CHINCHILLA.starts)
    return problems, best_of_starts(solve(CHINCHILLA, x, problems, starts), len(starts)).theta[0]


def test_moves_are_what_leaving_a_run_out_takes_back():
    x, y = table(200)
    problems, theta = optimum(x, y, delta=0.1)  # least squares
    run = np.repeat(np.arange(100), 2)
    left_out = problems._replace(weight=(run != np.arange(100)[:, None]).astype(float))
    taken = theta - solve(CHINCHILLA, x, left_out, np.tile(theta, (100, 1))).theta
    moves = linearised_fit(CHINCHILLA, x, y, theta, 0.1, run).influence
    for j in range(5):
        assert np.corrcoef(moves[:, j], taken[:, j])[0, 1] > 0.95
        assert 0.8 < moves[:, j].std() / taken[:, j].std() <= 1.05


def test_many_resampled_runs_spread_as_resamples_that_are_solved():
    x, y = table(4000)
    problems, theta = optimum(x, y, delta=0.01)
    rng, n = np.random.default_rng(0), 300
    weight = rng.multinomial(4000, np.full(4000, 1 / 4000), n).astype(float)
    solved = solve(CHINCHILLA, x, problems._replace(weight=weight), np.tile(theta, (n, 1)), ROUGH).theta
    drawn = resampled(CHINCHILLA, x, y, theta, 0.01, np.arange(4000), n, rng)
    np.testing.assert_allclose(drawn.std(axis=0), solved.std(axis=0), rtol=0.2)
    assert np.all(np.abs(drawn.mean(axis=0) - theta) < 0.2 * solved.std(axis=0))


def test_a_parameter_on_its_bound_stays_there():
    x, y = table(300)
    theta, rng = np.array([0.0, 0.6, 0.6, 0.2, 0.2]), np.random.default_rng(0)
    drawn = resampled(CHINCHILLA, x, y, theta, 0.1, np.arange(300), 50, rng)
    assert np.all(drawn[:, 0] == 0) and np.all(drawn[:, 1:].std(axis=0) > 0)


def test_nothing_moves_along_a_flat_direction():
    x, _ = table(300)
    same = {name: x["n_params"] for name in CHINCHILLA.columns}
    theta, rng = np.array([0.6, 0.3, 0.3, 0.35, 0.35]), np.random.default_rng(0)
    y = scaled_values(CHINCHILLA, theta[None], same)[0] + 0.005 * rng.standard_normal(300)
    drawn = resampled(CHINCHILLA, same, y, theta, 0.1, np.arange(300), 50, rng)
    np.testing.assert_allclose(drawn[:, 1], drawn[:, 2], atol=1e-6)
