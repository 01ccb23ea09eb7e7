"""What a notebook shows: plain tables, escaped; and charts that draw, with the numbers of what they show."""

import json

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert

import scaling
from scaling.table.runs import check
from tests.scaling.planted import isoflop_runs


@pytest.fixture(scope="module")
def fit() -> scaling.Fit:
    return scaling.fit(isoflop_runs(noise=0.003).table, n_bootstrap=30)


def datasets(chart) -> list[list[dict]]:
    spec = chart.to_dict()
    assert vl_convert.vegalite_to_svg(json.dumps(spec)).startswith("<svg")
    return list(spec["datasets"].values())


def test_a_data_frame_is_fitted_as_its_file_is_and_a_fit_comes_back_from_its_file(tmp_path, fit):
    runs = isoflop_runs(noise=0.003)
    assert fit.params == scaling.fit(runs, n_bootstrap=0).params
    frame = runs.table.rename(columns={"n_params": "N", "n_tokens": "D"}).set_index("N")
    read = scaling.read_runs(frame)
    np.testing.assert_array_equal(read.table.n_params, runs.table.n_params)
    assert "read N as n_params, D as n_tokens" in read.notes and "D" in frame
    with pytest.raises(ValueError, match="the data frame: no column loss"):
        scaling.fit(frame.drop(columns="loss"))
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(fit.to_json()))
    for given in (path, str(path)):
        assert scaling.Fit.from_json(given).params == fit.params
    path.write_text("{")
    with pytest.raises(ValueError, match=r"fit\.json is not JSON"):
        scaling.Fit.from_json(path)


def test_a_fit_draws_its_runs_and_the_best_loss_ten_times_further(fit):
    line, runs = sorted(datasets(fit.plot()), key=lambda rows: "lo" not in rows[0])
    assert len(runs) == 24 and line[-1]["flops"] == pytest.approx(10 * 3e19)
    best = scaling.frontier(fit, [row["flops"] for row in line])
    assert [row["loss"] for row in line] == pytest.approx(best.loss, rel=1e-4)
    assert all(row["lo"] < row["loss"] < row["hi"] for row in line)


def test_a_law_of_other_columns_is_drawn_against_what_was_measured():
    k = np.arange(1, 30)
    fit = scaling.fit(pd.DataFrame({"k": k, "pass_at_k": 1 - 0.9**k}), law="pass_at_k", n_bootstrap=0)
    points = max(datasets(fit.plot()), key=len)
    assert [row["measured"] for row in points] == pytest.approx(1 - 0.9**k)
    assert [row["predicted"] for row in points] == pytest.approx(fit.predict(k=k).loss)


def test_runs_draw_those_that_finished_and_thin_what_is_too_much():
    table = pd.concat([isoflop_runs().table] * 200).assign(run_id=lambda t: np.arange(len(t)))
    table.loc[table.run_id < 3, "loss"] = np.inf
    (points,) = datasets(check(table, {}).plot())
    assert 1000 < len(points) <= 2000 and min(row["run_id"] for row in points) == 3
    with pytest.raises(ValueError, match="no flops and loss to plot; the table has k"):
        scaling.Runs(pd.DataFrame({"k": [1]})).plot()


@pytest.mark.parametrize("flops", [1e20, [1e20, 1e21]])
def test_a_frontier_draws_size_and_loss(fit, flops):
    best = scaling.frontier(fit, flops)
    (rows,) = datasets(best.plot())
    assert [row["n_params"] for row in rows] == pytest.approx(np.atleast_1d(best.n_params))
    assert isinstance(best.plot(), alt.HConcatChart)
    html = best._repr_html_()
    assert html.count("<tr") == 1 + len(rows) and f"{np.atleast_1d(best.loss)[0]:.4g} [" in html


def test_html_has_the_numbers_and_escapes_what_tables_say(fit):
    html = fit._repr_html_()
    lo, hi = fit.ci["alpha"]
    assert f"{fit.params['alpha']:.4g}" in html and f"{lo:.4g} to {hi:.4g}" in html and "90% interval" in html
    notes = tuple(f"<b>{i}</b>" for i in range(7))
    twice = pd.concat([isoflop_runs().table.assign(weight_decay=decay) for decay in (0.0, 0.1)])
    assert "differ in weight_decay (0.0, 0.1), which" in scaling.fit(twice, n_bootstrap=0)._repr_html_()
    html = scaling.Runs(isoflop_runs().table, notes=notes)._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;4" in html and "and 2 more" in html and "5</b>" not in html
