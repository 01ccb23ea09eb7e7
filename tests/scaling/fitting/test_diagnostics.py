"""Diagnostics by cases that can be reckoned by hand, and by tables that leave something open."""

import json

import numpy as np
import pytest

from scaling.fitting.diagnostics import Diagnostics, diagnose
from scaling.fitting.solver import Problems, solve
from scaling.laws import CHINCHILLA, Law
from scaling.laws.law import scaled_values

LINE = Law(
    name="line",
    params=("base", "slope"),
    columns=("x",),
    value=lambda theta, x: theta[0] + theta[1] * x["x"],
    unscale=lambda theta, units: theta,
    bounds=((-100.0, 100.0), (-100.0, 100.0)),
    starts=((0.0, 0.5), (1.0, -0.5)),
    prior=((0.0, 1.0), (0.0, 1.0)),
    formula="base + slope x",
    source="by hand",
    target="accuracy",
    scale="linear",
    dimensionless=("x",),
)
TRUTH = np.array([0.6, 0.3, 0.3, 0.35, 0.37])


def diagnosed(law, x, y, delta=100.0, run=None) -> Diagnostics:
    none, starts = np.zeros((1, len(law.params))), np.array(law.starts)
    problems = Problems(y[None], np.ones((1, len(y))), np.array([delta]), none, none)
    run = np.arange(len(y)) if run is None else run
    return diagnose(law, x, y, run, delta, solve(law, x, problems, starts))


def line(n=8):
    x = np.arange(n, dtype=float) ** 2
    return {"x": x}, 1 + 0.1 * x + 0.05 * np.sin(7 * x)


def test_leverage_is_the_diagonal_of_the_hat_matrix_and_influence_what_leaving_out_does():
    x, y = line()
    design = np.stack([np.ones(8), x["x"]], axis=1)
    hat = design @ np.linalg.solve(design.T @ design, design.T)
    found = diagnosed(LINE, x, y).influential
    whole = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    for each in found:
        kept = np.arange(8) != each.row
        changed = design @ np.linalg.lstsq(design[kept], y[kept], rcond=None)[0] - whole
        assert each.leverage == pytest.approx(hat[each.row, each.row], rel=1e-9)
        assert each.moved == pytest.approx(changed[np.abs(changed).argmax()], rel=1e-6)
    moved = np.abs([each.moved for each in found])
    assert np.all(np.diff(moved) <= 0)


def test_rows_of_one_run_are_left_out_together():
    x, y = line()
    run = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    found = diagnosed(LINE, x, y, run=run).influential
    assert sorted(each.run for each in found) == [0, 1, 2, 3]
    assert all(each.row == 2 * each.run for each in found)
    assert sum(each.leverage for each in found) == pytest.approx(2)


def test_a_run_far_from_the_others_is_the_most_influential():
    x, y = line()
    x["x"][3], y[3] = 300.0, 25.0
    found = diagnosed(LINE, x, y).influential[0]
    assert found.row == 3 and found.leverage > 0.9 and found.moved > 0


def test_runs_that_all_have_20_tokens_a_parameter_do_not_tell_A_from_B():
    n_params = np.geomspace(0.1, 10, 40)
    x = {"n_params": n_params, "n_tokens": n_params}  # D = 20 N, each in units of the data
    y = scaled_values(CHINCHILLA, TRUTH[None], x)[0] + 0.003 * np.random.default_rng(0).standard_normal(40)
    found = diagnosed(CHINCHILLA, x, y, delta=1e-3)
    pairs = [set(words.partition(":")[0].split()) for words in found.flat]
    assert any({"A", "B"} <= pair for pair in pairs), found.flat
    assert found.condition > 1e6
    assert found.forecast_at == "10 times the largest compute"


def test_a_grid_of_sizes_and_tokens_leaves_nothing_open_and_scales_of_columns_do_not_matter():
    rng = np.random.default_rng(0)
    x = {"n_params": np.geomspace(0.05, 20, 60), "n_tokens": np.tile(np.geomspace(0.1, 10, 6), 10)}
    y = scaled_values(CHINCHILLA, TRUTH[None], x)[0] + 0.003 * rng.standard_normal(60)
    found = diagnosed(CHINCHILLA, x, y, delta=1e-3)
    assert found.flat == () and found.at_bounds == () and found.condition < 100
    assert found.n_reached == found.n_starts == len(CHINCHILLA.starts)


def test_a_parameter_without_any_effect_is_named():
    x = {"x": np.zeros(8)}
    y = 1 + 0.1 * np.cos(np.arange(8.0))
    assert diagnosed(LINE, x, y).flat == ("slope is not determined by the runs",)


def test_what_ends_on_a_bound_is_named_and_not_called_flat():
    x = {"n_params": np.geomspace(0.05, 20, 30), "n_tokens": np.tile(np.geomspace(0.1, 10, 6), 5)}
    y = (
        scaled_values(CHINCHILLA, np.array([[0.0, 0.6, 0.4, 0.1, 0.12]]), x)[0]
        - 0.05 * np.log(x["n_params"]) ** 2
    )
    found = diagnosed(CHINCHILLA, x, y, delta=1e-3)
    assert "E at its lower bound" in found.at_bounds
    assert not any("E" in words.split() for words in found.flat)


def test_json_and_text_tell_the_same():
    found = diagnosed(LINE, *line())
    assert Diagnostics.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert "2 of 2 reached" in str(found) and f"row {found.influential[0].row} " in str(found)
