"""Tables behind the figures: runs against the law, frontier, profiles, sweeps, from one known study."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling.report import tables
from scaling.report.data import ReportData
from scaling.report.theme import is_done, of_stage
from scaling.table.runs import Runs
from tests.scaling.report.synthetic_study import BUDGETS

VERIFY = {"predicted": 1.5, "lo": 1.25, "hi": 1.75, "flops": 2.8e12, "level": 0.9}


@pytest.fixture(scope="module")
def data(study) -> ReportData:
    """The study with a prediction of round numbers."""
    last = study.runs.table.iloc[-1]
    return replace(study, verify=VERIFY | {"run_id": last["run_id"], "measured": last["loss"]})


@pytest.fixture(scope="module")
def table(data) -> pd.DataFrame:
    """The runs that the law speaks of, as the page has them."""
    runs = tables.runs(data)
    return runs.loc[is_done(runs) & ~of_stage(runs, "tune")]


def test_runs_stand_against_the_law_unless_their_rate_was_varied(data):
    before = data.runs.table.copy()
    runs = tables.runs(data)
    grid = runs[of_stage(runs, "grid", "extend")]
    predicted = data.fit.predict(grid["n_params"].to_numpy(), grid["n_tokens"].to_numpy())
    for name, values in zip(("predicted", "lo", "hi"), predicted):
        np.testing.assert_allclose(grid[name], values)
    np.testing.assert_allclose((1 + grid["residual"] / 100) * grid["predicted"], grid["loss"])
    assert runs.loc[of_stage(runs, "tune"), ["predicted", "lo", "hi", "residual"]].isna().all(axis=None)
    diverged = ~is_done(runs)
    assert diverged.any() and runs.loc[diverged, "loss"].isna().all()
    assert runs["size"].iloc[0] == "7.2k"
    pd.testing.assert_frame_equal(data.runs.table, before)


def test_the_law_of_text_says_nothing_of_post_trained_runs(data):
    objective = [None] * (len(data.runs.table) - 1) + ["ppo"]
    mixed = replace(
        data, runs=replace(data.runs, table=data.runs.table.assign(objective=objective)), verify=None
    )
    runs = tables.runs(mixed)
    assert runs[["predicted", "residual"]].iloc[-1].isna().all() and runs["predicted"].notna().any()


def test_the_verification_run_keeps_what_was_predicted_before_it_trained(data):
    (star,) = tables.runs(data).query("stage == 'verify'").to_dict("records")
    assert (star["predicted"], star["lo"], star["hi"]) == (1.5, 1.25, 1.75)
    assert star["residual"] == pytest.approx(100 * (star["loss"] / 1.5 - 1))


def test_without_a_law_of_sizes_and_tokens_nothing_is_predicted_of_runs_and_there_is_no_frontier(data):
    bare = Runs(data.runs.table[["n_params", "n_tokens", "flops", "loss", "status"]])
    for fit in (None, replace(data.fit, law="broken")):
        lawless = replace(data, runs=bare, fit=fit, verify=None)
        runs = tables.runs(lawless)
        assert runs[["predicted", "lo", "hi", "residual", "lr"]].isna().all(axis=None)
        assert set(runs["stage"]) == {"run"} and set(runs["run_id"]) == {""}
        assert tables.frontier(lawless, runs).empty
    assert tables.splits_budgets(data.fit) and not tables.splits_budgets(replace(data.fit, law="broken"))


def test_the_frontier_is_drawn_from_below_the_smallest_run_to_past_the_last_that_matters(data, table):
    found = tables.frontier(data, table)
    assert found["flops"].iloc[0] == pytest.approx(table["flops"].min() / tables.BEYOND)
    assert found["flops"].iloc[-1] == pytest.approx(VERIFY["flops"] * tables.BEYOND)
    grid = table[~of_stage(table, "verify")]
    ahead = tables.frontier(replace(data, verify=None), grid)
    assert ahead["flops"].iloc[-1] == pytest.approx(10 * grid["flops"].max())
    waiting = tables.frontier(data, grid)  # the predicted run counts before it is there
    assert waiting["flops"].iloc[-1] == pytest.approx(VERIFY["flops"] * tables.BEYOND)
    behind = tables.frontier(replace(data, verify=VERIFY | {"flops": 1e10}), grid)
    assert behind["flops"].iloc[-1] == pytest.approx(grid["flops"].max() * tables.BEYOND)


def test_the_frontier_spends_what_the_runs_spent_on_a_token(data, table):
    found = tables.frontier(data, table)
    per_token = 6.3 * found["n_params"].to_numpy()  # as the synthetic runs are
    np.testing.assert_allclose(found["n_tokens"] * per_token, found["flops"])
    predicted = data.fit.predict(found["n_params"].to_numpy(), found["n_tokens"].to_numpy())
    np.testing.assert_allclose(found["loss"], predicted.loss)
    np.testing.assert_allclose(found["loss"] * (1 + found["hi_percent"] / 100), found["hi"])
    np.testing.assert_allclose(found["loss"] * (1 + found["lo_percent"] / 100), found["lo"])
    assert (found["n_lo"] < found["n_params"]).all() and (found["n_params"] < found["n_hi"]).all()


def test_a_forecast_is_put_in_words_with_the_measurement_once_there_is_one(data):
    measured = replace(data, verify=VERIFY | {"measured": 1.0})
    assert tables.forecast(measured)["words"].tolist() == [["measured 1.000", "predicted 1.500 ± 0.250"]]
    (waiting,) = tables.forecast(replace(data, verify=VERIFY)).to_dict("records")
    assert waiting["words"] == ["predicted 1.500 ± 0.250"] and waiting["loss"] == 1.5
    assert tables.forecast(replace(data, verify=None)).empty


def test_profiles_are_the_fit_s_each_run_at_its_budget(data, table):
    near = table.assign(flops=np.where(of_stage(table, "verify"), 3e11, table["flops"]))
    found = tables.profiles(data, near)
    assert list(dict.fromkeys(found.runs["budget"])) == ["3e10", "1e11", "3e11"]
    assert set(found.runs["stage"]) == {"grid", "extend"} and len(found.runs) == 18
    off = np.log(found.runs["budget_flops"] / found.runs["flops"])
    assert off.abs().max() < 0.05
    for minimum in found.minima.to_dict("records"):
        drawn = found.curves[found.curves["budget"] == minimum["budget"]]
        lowest = drawn.loc[drawn["loss"].idxmin()]
        assert lowest["loss"] == pytest.approx(minimum["loss"], rel=1e-3)
        assert np.log(lowest["n_params"] / minimum["n_params"]) == pytest.approx(0, abs=0.06)
        losses = found.runs.loc[found.runs["budget"] == minimum["budget"], "loss"]
        assert drawn["loss"].between(0.98 * losses.min(), 1.02 * losses.max()).all()


def test_budgets_met_by_chance_are_no_profiles_but_those_of_a_study_are(data, table):
    minima = tuple(replace(minimum, at_edge=True) for minimum in data.fit.profiles.minima)
    edged = replace(data, fit=replace(data.fit, profiles=replace(data.fit.profiles, minima=minima)))
    assert tables.profiles(replace(edged, study={}), table) is None
    found = tables.optima(table, tables.profiles(edged, table))
    assert found["kind"].tolist() == ["minimum at the edge"] * 3 + ["verification run"]
    assert found[["n_params_lo", "n_params_hi"]].isna().all(axis=None)  # a bound has no interval
    assert tables.profiles(replace(data, fit=replace(data.fit, profiles=None)), table) is None
    assert tables.profiles(replace(data, fit=None), table) is None


def test_views_of_the_best_size_are_the_profiles_minima_and_the_verification_run(data, table):
    found = tables.optima(table, tables.profiles(data, table))
    assert found["kind"].tolist() == ["profile minimum"] * 3 + ["verification run"]
    np.testing.assert_allclose(found["flops"][:3], BUDGETS, rtol=0.01)
    assert (found["n_params_lo"] < found["n_params"])[:3].all() and found["n_params"].iloc[3] == 125_000
    assert tables.optima(table, None)["kind"].tolist() == ["verification run"]


def test_swept_rates_lie_on_curves_with_the_optimum_at_the_minimum(data):
    runs = tables.runs(data)
    found = tables.learning_rates(data, runs)
    assert set(found.runs["stage"]) == {"tune"} and found.optima["size"].tolist() == [
        "7.2k",
        "15.8k",
        "35.4k",
    ]
    for optimum in found.optima.to_dict("records"):
        curve = found.curves[found.curves["size"] == optimum["size"]]
        lowest = curve.loc[curve["loss"].idxmin()]
        assert np.log(lowest["lr"] / optimum["lr"]) == pytest.approx(0, abs=0.1)
        assert lowest["loss"] == pytest.approx(optimum["loss"], rel=0.01)
    assert tables.learning_rates(replace(data, lr=None), runs) is None
    assert tables.learning_rates(data, runs[~of_stage(runs, "tune")]) is None


def test_the_law_of_the_rate_is_drawn_along_the_runs(data):
    """Tokens as a power of the size: here exactly that, so the law is predicted for those very sizes."""
    sizes = np.array([1e4, 3e4, 9e4])
    runs = pd.DataFrame({"n_params": sizes, "n_tokens": 50 * sizes**0.8, "stage": "tune"})
    law = tables.learning_rates(data, runs).law
    predicted = data.lr.predict(law["n_params"].to_numpy(), 50 * law["n_params"].to_numpy() ** 0.8)
    np.testing.assert_allclose(law[["lr", "lo", "hi"]].T, [predicted.lr, predicted.lr_lo, predicted.lr_hi])
    assert law["n_params"].iloc[[0, -1]].tolist() == pytest.approx([1e4 / 1.15, 9e4 * 1.15])
