"""The compute-optimal split of a budget: closed form, numbers and ladders agree."""

import numpy as np
import pytest

import scaling
from tests.planted import TRUTH, best_size, chinchilla, isoflop_runs

FLOPS = np.array([1e19, 1e21, 1e23])


@pytest.fixture(scope="module")
def fit():
    return scaling.fit(isoflop_runs(noise=0.003), n_bootstrap=60)


@pytest.fixture(scope="module")
def exact():
    return scaling.fit(isoflop_runs(), n_bootstrap=0)


def test_the_closed_form_is_the_numeric_optimum(fit):
    closed = scaling.frontier(fit, FLOPS)
    numeric = scaling.frontier(fit, FLOPS, lambda n_params: 6.0 * n_params)
    np.testing.assert_allclose(closed.n_params, numeric.n_params, rtol=1e-3)
    np.testing.assert_allclose(closed.n_params_lo, numeric.n_params_lo, rtol=2e-2)
    np.testing.assert_allclose(6 * closed.n_params * closed.n_tokens, FLOPS)


def test_the_optimum_of_a_known_law(exact):
    found = scaling.frontier(exact, FLOPS)
    np.testing.assert_allclose(found.n_params, best_size(FLOPS, **TRUTH), rtol=1e-2)
    assert np.isnan(found.n_params_lo).all()


def test_no_neighbour_is_better(fit):
    found = scaling.frontier(fit, 1e21)
    split = found.n_params * np.array([0.8, 1.0, 1.25])
    losses = chinchilla(split, 1e21 / (6 * split), **fit.params)
    assert losses.argmin() == 1


def test_dearer_tokens_for_large_models_move_the_optimum_down(fit):
    plain = scaling.frontier(fit, FLOPS)
    dear = scaling.frontier(fit, FLOPS, lambda n_params: 6.0 * n_params * (n_params / 1e8) ** 0.1)
    assert np.all(dear.n_params < plain.n_params)
    np.testing.assert_allclose(dear.n_tokens * 6 * dear.n_params * (dear.n_params / 1e8) ** 0.1, FLOPS)


def test_a_ladder_gives_its_best_rung(fit):
    rungs = np.geomspace(1e7, 1e12, 31)
    found = scaling.frontier(fit, FLOPS, sizes=rungs)
    free = scaling.frontier(fit, FLOPS)
    assert np.all(np.isin(found.n_params, rungs))
    np.testing.assert_allclose(np.log(found.n_params / free.n_params), 0, atol=np.log(rungs[1] / rungs[0]))


def test_intervals_hold_their_values_and_scalars_stay_scalars(fit):
    found = scaling.frontier(fit, 1e21)
    assert isinstance(found.n_params, float)
    assert found.n_params_lo < found.n_params < found.n_params_hi
    assert found.n_tokens_lo < found.n_tokens < found.n_tokens_hi
    assert found.loss_lo < found.loss < found.loss_hi


@pytest.mark.parametrize("flops", [0.0, -1e20, float("nan"), [1e20, float("inf")]])
def test_a_budget_must_be_positive_and_finite(fit, flops):
    with pytest.raises(ValueError, match="positive and finite"):
        scaling.frontier(fit, flops)
