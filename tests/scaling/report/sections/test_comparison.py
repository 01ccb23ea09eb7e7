"""The section that compares laws by what they predict of larger runs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling.optimum.frontier import frontier
from scaling.prediction.law_comparison import compare_laws
from scaling.report.sections.comparison import section
from tests.scaling.report.synthetic_study import make_runs


@pytest.fixture(scope="module")
def made(grid):
    return section(grid)


def test_laws_are_listed_best_first_with_percentages(made):
    table = made.tables[0]
    scores = [row.cells[6].sort for row in table.rows]
    assert scores == sorted(scores, reverse=True) and len(scores) >= 2
    inside = [row.cells[4].sort for row in table.rows]
    assert all(0 <= share <= 100 for share in inside)
    assert sum(row.cells[7].sort for row in table.rows) == pytest.approx(1)


def test_the_law_of_the_headline_is_named_with_its_weight_and_what_the_first_says_of_its_run(
    grid, monkeypatch
):
    """The page said that kaplan weighs more, for which `list laws` says not to extrapolate, and no more."""
    found = compare_laws(grid.law_runs, ["chinchilla", "kaplan"])
    chinchilla = next(each for each in found.candidates if each.law == "chinchilla")
    kaplan = next(each for each in found.candidates if each.law == "kaplan")
    for order, words in (
        ((chinchilla, kaplan), "The predictions of this page are by chinchilla."),
        ((kaplan, chinchilla), f"it weighs {chinchilla.weight:.0%} here"),
    ):
        ranked = replace(found, candidates=order)
        monkeypatch.setattr("scaling.report.sections.comparison.compare_laws", lambda *_, r=ranked, **__: r)
        text = section(grid).text
        assert words in text and ("not to extrapolate" in text) == (order[0] is kaplan)
    best = frontier(grid.fit, 10 * grid.law_runs.table["flops"].max())
    assert "kaplan expects" in text and f"chinchilla {best.loss:.3f}." in text


def test_bars_cross_zero_where_the_interval_holds_the_measured_loss(made):
    errors, intervals = made.figures
    bars = pd.DataFrame(intervals.spec["datasets"]["runs"])
    held = (bars["lo"] <= 0) & (bars["hi"] >= 0)
    assert list(np.where(held, "holds it", "misses it")) == list(bars["inside"])
    assert np.all((bars["lo"] < bars["error"]) & (bars["error"] < bars["hi"]))
    drawn = pd.DataFrame(errors.spec["datasets"]["runs"])
    assert (drawn.groupby("law").size() == len(bars)).all() and (drawn["ratio"] > 1).all()


def test_too_few_runs_leave_no_trace(grid):
    few = replace(grid.runs, table=make_runs().query("stage == 'grid'").drop(columns="stage").head(7))
    assert section(replace(grid, law_runs=few)) is None


def test_laws_of_pretraining_are_not_compared_on_runs_that_were_post_trained(grid):
    table = grid.law_runs.table.assign(objective="reward")
    assert section(replace(grid, law_runs=replace(grid.law_runs, table=table))) is None
