"""Plans: what they promise, and that they beat the uniform grid."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.design.design_target import find_target
from scaling.design.joint_covariance import joint_covariance, remaining_variance
from scaling.design.next_runs import NEAREST, SPREAD, candidates, first_grid, next_runs
from scaling.optimum.frontier import frontier
from scaling.outlook.cost import cost
from scaling.table.flops_per_token import flops_per_token
from scaling.table.runs import check
from tests.scaling.planted import TRUTH, best_size, chinchilla, isoflop_runs

NOISE = 0.004
TARGETS = ("loss@1e20", "n_params@1e20", "a")


def measured(n_params, n_tokens, seed=0):
    noise = NOISE * np.random.default_rng(seed).standard_normal(len(n_params))
    loss = chinchilla(n_params, n_tokens, **TRUTH) * np.exp(noise)
    return pd.DataFrame({"n_params": n_params, "n_tokens": n_tokens, "loss": loss})


def test_a_grid_has_the_cost_asked_for():
    grid = first_grid(1e20, 1e22)
    assert grid["flops"].to_numpy().sum() == pytest.approx(1e20, rel=1e-5)
    assert len(grid) == 35
    budgets = grid["flops"].to_numpy().reshape(5, 7)
    np.testing.assert_allclose(budgets / budgets[:, :1], 1, rtol=1e-4)
    np.testing.assert_allclose(budgets[-1, 0] / budgets[0, 0], 100, rtol=1e-4)
    middle = grid.iloc[3]
    assert middle["n_tokens"] / middle["n_params"] == pytest.approx(20, rel=1e-4)
    assert grid["n_params"].iloc[6] / grid["n_params"].iloc[0] == pytest.approx(SPREAD**2, rel=1e-4)
    assert cost(grid["flops"].to_numpy(), "h100").device_hours.sum() == pytest.approx(
        1e20 / (989e12 * 0.4) / 3600
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"flops": -1.0}, "flops=-1.0"),
        ({"n_budgets": 1}, "n_budgets=1"),
        ({"target_flops": 1e18}, "run the target itself"),
        ({"flops": 100.0}, "too little for a grid"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        first_grid(**{"flops": 1e20, "target_flops": 1e22, **arguments})


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.02])
def test_expected_is_no_wider_than_now_however_little_noise_the_runs_show(noise):
    """Of clean runs an interval of typical noise, wider than now, was expected."""
    runs = isoflop_runs((1e17, 3e17), noise=noise, sizes=4)
    plan = next_runs(scaling.fit(runs, n_bootstrap=50), runs, "loss@1e20", 1e18)
    assert plan.target.lo <= plan.lo < plan.hi <= plan.target.hi


@pytest.mark.parametrize("target", TARGETS)
def test_a_plan_keeps_to_its_budget_and_its_range_and_promises_a_narrower_interval(fit, runs, target):
    plan = next_runs(fit, runs, target, 1e19)
    table = plan.runs
    assert table["flops"].to_numpy().sum() <= 1e19
    assert not table.duplicated().any() and table["flops"].is_monotonic_increasing
    np.testing.assert_allclose(table["flops"], 6 * table["n_params"] * table["n_tokens"])
    off = table["n_params"] / frontier(fit, table["flops"].to_numpy()).n_params
    assert off.between(0.98 / SPREAD, 1.02 * SPREAD).all()
    now = plan.target
    if target.startswith("loss"):  # what is known now is what the fit predicts, and its noise is expected on
        best = frontier(fit, now.flops)
        assert (now.lo, now.hi) == (best.loss_lo, best.loss_hi)
    assert now.lo < plan.lo < now.value < plan.hi < now.hi
    less = next_runs(fit, runs, target, 1e18)
    assert less.hi - less.lo > plan.hi - plan.lo


def test_no_run_is_as_large_as_the_target(fit, runs):
    plan = next_runs(fit, runs, "loss@2e18", 1e19)
    assert plan.runs["flops"].to_numpy().max() <= NEAREST * 2e18 * 1.001


def test_a_plan_of_given_sizes(fit, runs):
    ladder = [1e7, 2e7, 4e7, 8e7, 1.6e8, 3.2e8]
    plan = next_runs(fit, runs, "loss@1e20", 1e19, sizes=ladder)
    assert set(plan.runs["n_params"]) <= set(ladder)
    with pytest.raises(ValueError, match="no size is within 4 times the best"):
        next_runs(fit, runs, "loss@1e20", 1e19, sizes=[1e3])


def test_the_runs_so_far_say_what_a_token_costs(fit, runs):
    expensive = check(runs.table.assign(flops=1.3 * runs.table["flops"]), {})
    table = candidates(replace(fit, flops_per_token=flops_per_token(expensive)), expensive, 1e19)
    np.testing.assert_allclose(table["flops"], 1.3 * 6 * table["n_params"] * table["n_tokens"])


@pytest.mark.parametrize("target", TARGETS)
def test_sixty_per_cent_of_a_uniform_grid_leave_no_more_variance_than_all_of_it(fit, runs, target):
    """By the variance expected to be left; benchmarks/scaling/design_gain.py makes and fits the runs."""
    budgets = np.geomspace(1e17, 1e19, 5)
    sizes = np.outer(best_size(budgets, **TRUTH), np.geomspace(1 / SPREAD, SPREAD, 7))
    grid = pd.DataFrame({"n_params": sizes.ravel(), "n_tokens": (budgets[:, None] / (6 * sizes)).ravel()})
    grid["flops"] = np.repeat(budgets, 7)
    flops = 0.6 * budgets.sum() * 7 - runs.table["flops"].sum()
    plan = next_runs(fit, runs, target, flops)
    left = [
        remaining_variance(joint_covariance(fit, plan.target, t), list(range(len(t))))
        for t in (plan.runs, grid)
    ]
    assert left[0] < left[1]


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_the_interval_comes_out_as_promised(fit, runs, target):
    plan = next_runs(fit, runs, target, 3e19)
    new = measured(plan.runs["n_params"].to_numpy(), plan.runs["n_tokens"].to_numpy())
    known = check(pd.concat([runs.table[["n_params", "n_tokens", "loss"]], new], ignore_index=True), {})
    after = find_target(scaling.fit(known), target, 1e19)
    promised = (plan.hi - plan.lo) / (plan.target.hi - plan.target.lo)
    came = (after.hi - after.lo) / (plan.target.hi - plan.target.lo)
    assert promised < 0.7 and came == pytest.approx(promised, abs=0.25)


def test_too_little_to_plan_with_is_refused(fit, runs):
    with pytest.raises(ValueError, match="less than the smallest run worth making"):
        next_runs(fit, runs, "loss@1e20", 1e15)
    with pytest.raises(ValueError, match="no draws"):
        next_runs(scaling.fit(runs, n_bootstrap=0), runs, "loss@1e20", 1e19)
