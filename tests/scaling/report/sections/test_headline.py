"""Top of the page: what is said of a prediction, tested or not, and the key figures."""

from dataclasses import replace

import pandas as pd
import pytest

from scaling.optimum.frontier import frontier
from scaling.report.data import ReportData
from scaling.report.page import Picture
from scaling.report.sections.headline import head
from scaling.table.runs import Runs
from tests.scaling.optimum.test_frontier import known
from tests.scaling.planted import TRUTH

VERIFY = {
    **{"run_id": "v", "predicted": 2.0, "lo": 1.95, "hi": 2.05, "level": 0.9, "measured": 2.03},
    **{"flops": 7.2e12, "n_params": 125_000, "n_tokens": 4e7},
}
RUNS = pd.DataFrame({
    "run_id": ["a", "b", "c", "v"], "status": ["done", "done", "diverged", "done"],
    "stage": ["grid", "grid", "tune", "verify"], "n_params": [1e4, 2e4, 2e4, 1.25e5],
    "n_tokens": [1e6, 2e6, 2e6, 4e7], "flops": [6e10, 2.4e11, 2.4e11, 7.2e12],
    "loss": [3.0, 2.5, float("nan"), 2.03], "residual": [3.0, -5.0, float("nan"), 0.0],
})  # fmt: skip
LAW = RUNS[RUNS["status"] == "done"]
BEST = pd.DataFrame({
    "flops": [2.4e11, 2.4e12], "n_params": [2e4, 6.3e4], "n_tokens": [2e6, 1.26e7], "loss": [2.4, 2.2],
    "lo": [2.3, 2.1], "hi": [2.5, 2.35],
})  # fmt: skip


def top(verify=None, frontier=BEST, runs=RUNS, law=LAW, n_runs=21, **fields):
    table = Runs(runs)
    fit = replace(known(TRUTH), n_points=len(law), n_runs=n_runs, status="converged")
    data = ReportData("x", "x.csv", table, table, fit, "No law was fitted: few.", verify=verify, **fields)
    return head(data, runs, law, frontier)


def words(head) -> str:
    return "".join(piece for piece, _ in head.headline)


def key(head) -> dict[str, tuple[str, str]]:
    return {name: (value, note) for name, value, note in head.key}


@pytest.mark.parametrize(
    "measured, verdict",
    [
        (2.03, "measured 2.030, 1.5% above and inside the 90% interval."),
        (1.9995, "measured 2.000, as predicted and inside the 90% interval."),
        (1.90, "measured 1.900, 5.0% below and outside the 90% interval."),
        (2.05, "measured 2.050, 2.5% above and inside the 90% interval."),
        (2.06, "measured 2.060, 3.0% above and outside the 90% interval."),
    ],
)
def test_a_tested_prediction_is_the_headline_with_its_verdict(measured, verdict):
    found = top(VERIFY | {"measured": measured})
    assert words(found) == f"Predicted 2.000 ± 0.050 nats per token at 7.2×10¹² FLOPs; {verdict}"
    assert [piece for piece, is_measured in found.headline if is_measured] == [f"measured {measured:.3f}"]
    assert found.title == f"x: {words(found)}"


@pytest.mark.parametrize("verify", [VERIFY, None])
def test_a_fit_in_doubt_says_so_in_the_headline(verify):
    """Ten runs predicted 2.12 ± 0.11 without a word, and 1.99 was measured."""
    assert words(top(verify, n_runs=10)).endswith(" In doubt: 10 runs for 5 parameters.")
    assert "in doubt" not in words(top(verify)).lower()


def test_a_doubt_told_with_the_prediction_is_told_in_the_headline():
    said = words(top(VERIFY | {"doubt": "the run reads its text 4.5 times"}))
    assert said.endswith(" inside the 90% interval. The run reads its text 4.5 times.")


def test_the_law_that_knows_the_verification_run_looks_ten_times_further():
    lede = top(VERIFY, further=known(TRUTH)).lede
    best = frontier(known(TRUTH), 7.2e13)
    assert f"Fitted again with this run, the law expects {best.loss:.3f} (" in lede
    assert "at 7.2×10¹³ FLOPs, ten times as many" in lede


def test_under_it_stands_how_far_the_law_was_stretched():
    """The largest other run has 2.4e11 FLOPs."""
    found = top(VERIFY)
    assert found.lede == (
        "The law was fitted to 2 runs. The run it predicted has 30 times the compute of the largest of them, "
        "125k parameters and 40M tokens; the prediction was on disk before it trained."
    )
    assert key(found)["Extrapolation"] == ("30×", "compute beyond the largest fitted run")
    assert key(top(VERIFY | {"flops": 2.88e13}))["Extrapolation"][0] == "120×"
    assert key(found)["Interval"] == ("±2.5%", "90%, for one new run")
    assert {"Residual", "Tokens per parameter"}.isdisjoint(key(found))  # the tested prediction says more


def test_a_prediction_whose_run_is_to_come_says_so_and_has_no_error():
    for verify in (VERIFY | {"measured": None}, {k: v for k, v in VERIFY.items() if k != "measured"}):
        found = top(verify)
        assert words(found).endswith("at 7.2×10¹² FLOPs; not measured yet.")
        assert "Prediction error" not in key(found) and "Interval" in key(found)


@pytest.mark.parametrize("measured, error", [(2.03, "+1.50%"), (1.9, "−5.00%"), (2.0, "+0.00%")])
def test_the_error_of_a_prediction_has_its_sign(measured, error):
    assert key(top(VERIFY | {"measured": measured}))["Prediction error"][0] == error


def test_without_a_verification_run_the_law_looks_ten_times_ahead():
    law = LAW.head(2)
    found = top(law=law, runs=RUNS.head(3))
    assert words(found) == (
        "At 2.4×10¹² FLOPs the law expects a loss of 2.200 (2.100 to 2.350) nats per token, "
        "with 63k parameters on 13M tokens."
    )
    assert found.lede == (
        "The law was fitted to 2 runs; the number above is for ten times the compute of the largest of them "
        "(2.4×10¹¹ FLOPs), where nothing has been measured."
    )
    assert key(found)["Tokens per parameter"] == ("100", "at the largest compute")
    assert key(found)["Residual"][0] == "4.1%"  # the root of the mean of 9 and 25


def test_a_finding_of_the_studys_own_comes_before_the_law_and_its_doubt():
    said = {"conclusion": "muon needs 0.7 times the compute\nmore", "pictures": [Picture("p", "t", "c", b"")]}
    found = top(n_runs=10, **said)
    assert words(found) == "Muon needs 0.7 times the compute."
    assert found.lede == "4 runs from 6×10¹⁰ to 7.2×10¹² FLOPs."
    assert words(top(VERIFY, n_runs=10, **said)).endswith(" In doubt: 10 runs for 5 parameters.")


def test_without_a_law_the_runs_are_counted_and_it_is_said_why():
    found = top(frontier=BEST.head(0))
    assert words(found) == "4 runs from 6×10¹⁰ to 7.2×10¹² FLOPs."
    assert found.lede == "No law was fitted: few." and "Residual" not in key(found)


@pytest.mark.parametrize("seconds, said", [(89, "89 s"), (91, "2 min"), (5300, "88 min"), (5400, "1.5 h")])
def test_runs_and_their_compute_are_summed(seconds, said):
    runs = RUNS.assign(wall_seconds=[seconds, 0, 0, float("nan")])
    assert key(top(runs=runs))["Runs"] == ("4", "1 diverged")
    assert key(top(runs=runs))["Compute"] == ("7.7×10¹²", f"FLOPs, {said} of training")
    assert key(top())["Compute"][1] == "FLOPs"
    assert key(top(runs=LAW))["Runs"] == ("3", "none diverged")


def test_the_exponent_of_the_size_has_its_interval():
    fit = replace(known(TRUTH), exponents={"a": 0.507, "b": 0.493}, exponents_ci={"a": (0.441, 0.559)})
    data = ReportData("x", "x.csv", Runs(RUNS), Runs(RUNS), fit, "")
    assert key(head(data, RUNS, LAW, BEST))["Exponent a"] == ("0.51", "N* ∝ Cᵃ, 90% in 0.44 to 0.56")


def test_a_study_and_a_table_are_called_what_they_are():
    assert top().kicker == "Table of runs “x”" and top(study={"name": "x"}).kicker == "Scaling study “x”"
    assert top(versions={"isoflop": "0.1.0"}).footer.startswith("isoflop 0.1.0, from x.csv.")


def test_points_of_curves_are_counted_as_runs_once():
    shares = (0.25, 0.5, 1.0)
    curves = pd.concat(
        [LAW.assign(flops=share * LAW["flops"], wall_seconds=share * 100) for share in shares],
        ignore_index=True,
    )
    found = top(runs=curves, law=curves)
    assert key(found)["Runs"] == ("3", "9 points of their curves")
    assert key(found)["Compute"] == ("7.5×10¹²", "FLOPs, 5 min of training")  # three runs of 100 s
    assert "9 points of training curves" in found.lede
