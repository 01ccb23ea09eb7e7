"""How far a prediction lies beyond the runs."""

import numpy as np
import pytest

import scaling
from scaling.fitting.reach import (
    BELOW,
    FIRST_DECADE,
    UNRELAXED,
    distance,
    evidence,
    floorless,
    in_words,
    lever_arm,
    reach,
    unrelaxed,
    unseen,
)
from tests.scaling.planted import isoflop_runs

SEEN = {"n_params": np.array([1e6, 1e8]), "n_tokens": np.array([1e9, 1e8])}


def test_by_how_much_each_column_and_compute_lie_outside():
    seen = evidence(SEEN)
    assert seen == {"n_params": (1e6, 1e8), "n_tokens": (1e8, 1e9), "flops": (6e15, 6e16)}
    beyond = reach(seen, {"n_params": 1e9, "n_tokens": 2e7})
    assert beyond == pytest.approx({"n_params": 10, "n_tokens": 0.2, "flops": 2})
    assert reach(seen, {"n_params": 1e8, "n_tokens": 1e9}) == pytest.approx({"flops": 10.0})
    assert reach(seen, {"n_params": 1.04e8, "n_tokens": 1e8}) == {} and in_words({}) == ""
    said = in_words({"n_params": 12.34, "flops": 0.5})
    assert in_words({"n_tokens": 4210.4}).endswith("4,210 times their largest n_tokens")
    assert said == (
        "reaches further than the runs: 0.5 times their smallest FLOPs (6·N·D), "
        "12.3 times their largest n_params"
    )


def test_a_lever_arm_that_is_shorter_than_the_distance_is_said():
    seen = evidence(SEEN)  # one decade of compute
    assert "decades" not in in_words({"flops": 9.9}, seen) and lever_arm({}, seen) == ""
    assert in_words({"flops": 100.0}, seen).endswith(
        "FLOPs (6·N·D); 2.0 decades of compute beyond runs that span 1.0"
    )
    assert lever_arm({"flops": 1e-3}, seen) == "3.0 decades of compute beyond runs that span 1.0"


def test_a_mixture_of_experts_computes_with_its_active_parameters():
    seen = evidence({"n_active": np.array([1e6]), "n_params": np.array([8e6]), "n_tokens": np.array([1e9])})
    assert seen["flops"] == (6e15, 6e15)


def test_what_is_not_known_of_the_runs_is_left_aside():
    assert reach(evidence(SEEN), {"n_experts": 64.0, "n_params": float("nan")}) == {}


def test_a_fit_knows_its_evidence_also_one_that_was_saved_without():
    runs = isoflop_runs()
    fit = scaling.fit(runs, n_bootstrap=0)
    table = runs.table
    assert fit.evidence["n_params"] == (table.n_params.min(), table.n_params.max())
    saved = fit.to_json()
    assert scaling.Fit.from_json(saved).evidence == fit.evidence
    saved.pop("evidence")
    for name, ends in scaling.Fit.from_json(saved).evidence.items():
        assert ends == pytest.approx(fit.evidence[name])


@pytest.mark.parametrize(
    "point, decades",
    [
        ((1, 0), 0),  # on a run
        ((0.3, 0.4), 0.4),  # between runs
        ((2, 2), 2),  # the empty corner of the L
        ((3, 0), 1),
        ((1, -1), 1),
    ],
)
def test_what_is_unseen_grows_from_the_nearest_run(point, decades):
    an_l = np.array([[0, 0], [1, 0], [2, 0], [0, 1], [0, 2]], float)
    at = np.array([point], float)
    assert unseen(distance(at, an_l))[0] == pytest.approx(FIRST_DECADE * decades**1.5, abs=1e-12)
    assert floorless(distance(at, an_l))[0] == pytest.approx(BELOW * decades**2, abs=1e-12)
    assert floorless(distance(at, an_l), 0.001)[0] == pytest.approx(min(0.002, BELOW * decades**2), abs=1e-12)
    assert unrelaxed(distance(at, an_l))[0] == pytest.approx(UNRELAXED * decades, abs=1e-12)
