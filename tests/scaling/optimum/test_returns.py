"""What compute returns, against Chinchilla's closed forms and published numbers."""

import numpy as np
import pytest

import scaling
from scaling.optimum.frontier import frontier
from scaling.optimum.returns import budget_for, next_percent
from tests.scaling.optimum.test_frontier import HOFFMANN, known, spread
from tests.scaling.planted import TRUTH, best_size, isoflop_runs

ALPHA, BETA = TRUTH["alpha"], TRUTH["beta"]
GAMMA = ALPHA * BETA / (ALPHA + BETA)  # the best loss is E + K C^-GAMMA
FLOPS = np.array([1e19, 1e21, 1e23])


@pytest.fixture(scope="module")
def plain():
    return known(TRUTH, draws=spread(TRUTH, 200))


@pytest.fixture(scope="module")
def fit():
    return scaling.fit(isoflop_runs(noise=0.003), n_bootstrap=200)


def test_a_budget_for_a_loss_is_the_frontier_read_the_other_way(fit):
    flops = np.array([1e19, 1e20])
    best = frontier(fit, flops)
    found = budget_for(fit, best.loss)
    np.testing.assert_allclose(found.flops, flops, rtol=1e-6)
    np.testing.assert_allclose(found.n_params, best.n_params, rtol=1e-6)
    assert np.all((found.flops_lo < flops) & (flops < found.flops_hi))
    # At the upper end a new run is almost sure to be as good, at the lower end it hardly can be.
    np.testing.assert_allclose(frontier(fit, found.flops_hi).loss_hi, best.loss, rtol=1e-6)
    np.testing.assert_allclose(frontier(fit, found.flops_lo).loss_lo, best.loss, rtol=1e-6)


def test_a_budget_has_its_closed_form(plain):
    loss = np.array([2.5, 2.0])
    n = best_size(1.0, **TRUTH)
    K = TRUTH["A"] / n**ALPHA + TRUTH["B"] * (6 * n) ** BETA
    np.testing.assert_allclose(
        budget_for(plain, loss).flops, ((loss - TRUTH["E"]) / K) ** (-1 / GAMMA), rtol=1e-6
    )
    assert isinstance(budget_for(plain, 2.5).flops, float)


def test_a_loss_below_the_irreducible_is_out_of_reach_and_nothing_makes_one_near_it_sure(plain):
    with pytest.raises(ValueError, match=r"loss=1\.7 is out of reach.*no less than 1\.8"):
        budget_for(plain, [2.5, 1.7])
    near = budget_for(plain, 1.81)
    assert near.flops_hi == np.inf and np.isfinite(near.flops)


def test_the_published_saving_of_a_smaller_model_that_serves_many_tokens():
    """Sardana & Frankle 2024 (arXiv 2401.00448), figure 1: instead of a 13B model, to serve 2e12 tokens, a
    7B model of the same loss saves 17 % of all compute, 1.7e22 FLOPs."""
    law, serve = known(HOFFMANN), 2e12
    alpha, beta = HOFFMANN["alpha"], HOFFMANN["beta"]
    flops = 6 * (13e9 / best_size(6.0, **HOFFMANN)) ** (
        (alpha + beta) / beta
    )  # for which 13B is the best size
    best = frontier(law, flops)
    assert best.n_params == pytest.approx(13e9)
    both = flops + 2 * best.n_params * serve
    smaller = budget_for(law, best.loss, inference_tokens=serve)
    assert 1 - smaller.flops / both == pytest.approx(0.17, abs=0.005)
    assert both - smaller.flops == pytest.approx(1.7e22, rel=0.01)
    assert smaller.n_params == pytest.approx(7e9, rel=0.01)


def test_the_next_per_cent_costs_more_and_more_and_then_cannot_be_had(plain):
    budget = np.array([1e19, 1e21, 1e23, 1e25, 1e32])
    found = next_percent(plain, budget)
    above = 1 - TRUTH["E"] / found.loss
    np.testing.assert_allclose(found.factor[:4], (1 - 0.01 / above[:4]) ** (-1 / GAMMA), rtol=1e-6)
    assert np.all(np.diff(found.factor[:4]) > 0)
    assert above[4] < 0.01 and found.factor[4] == np.inf and found.factor_hi[4] == np.inf
    assert np.all(found.factor_lo <= found.factor) and np.all(found.factor <= found.factor_hi)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda fit: budget_for(fit, -2.0), "loss=-2.0"),
        (lambda fit: next_percent(fit, 1e21, percent=0), "percent=0"),
        (lambda fit: next_percent(fit, 0.0), "flops=0.0"),
    ],
)
def test_wrong_input_is_refused(plain, call, words):
    with pytest.raises(ValueError, match=words):
        call(plain)
