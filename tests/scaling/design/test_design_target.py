"""Targets of a plan: as a known law has them, with the intervals of its draws, and which are refused."""

import numpy as np
import pytest

from scaling.design.design_target import DesignTarget, find_target
from scaling.optimum.frontier import frontier
from tests.scaling.optimum.test_frontier import known, spread
from tests.scaling.planted import TRUTH, best_size

DRAWS = spread(TRUTH, 200)
SMALLER = TRUTH | {"A": 200.0}


@pytest.fixture(scope="module")
def plain():
    return known(TRUTH, draws=DRAWS)


def by_rank(values: np.ndarray) -> list[float]:
    """The 5 % and 95 % of 200 draws."""
    return np.sort(values)[[9, 189]].tolist()


def test_the_exponent_is_that_of_the_law_and_its_interval_that_of_the_draws(plain):
    a = find_target(plain, "a", 1e18)
    exact = DRAWS[:, 4] / (DRAWS[:, 3] + DRAWS[:, 4])
    assert a.value == pytest.approx(TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"]))
    assert [a.lo, a.hi] == pytest.approx(by_rank(exact))
    np.testing.assert_allclose(a.of(DRAWS), exact)
    assert a.flops == np.inf and a.x is None and not a.log


def test_the_exponent_is_that_of_the_decade_beyond_the_largest_run():
    """Where tokens must be repeated, the best size no longer grows as it did."""
    truth = TRUTH | {"R_D": 15.4, "R_N": 5.3}
    law = known(truth, "data_constrained", np.tile(list(truth.values()), (3, 1)))
    values = [find_target(law, "a", flops, unique_tokens=1e10).value for flops in (1e16, 1e21, 1e22)]
    for flops, value in zip((1e16, 1e21, 1e22), values):
        here, there = frontier(law, [flops, 10 * flops], unique_tokens=1e10).n_params
        assert value == pytest.approx(np.log10(there / here), abs=1e-4)
    assert np.ptp(values) > 0.03


def test_a_best_size_is_the_frontier_s(plain):
    size, best = find_target(plain, "n_params@1e21", 1e18), frontier(plain, 1e21)
    assert size.value == pytest.approx(best_size(1e21, **TRUTH))
    assert (size.lo, size.hi) == (best.n_params_lo, best.n_params_hi)
    theta = np.array([list(TRUTH.values()), list(SMALLER.values())])
    expected = np.log([best_size(1e21, **TRUTH), best_size(1e21, **SMALLER)])
    np.testing.assert_allclose(size.of(theta), expected)
    assert size.flops == 1e21 and size.x is None and size.log


def test_a_loss_is_predicted_at_the_best_size(fit):
    loss, best = find_target(fit, "loss@1e19", 3e17), frontier(fit, 1e19)
    assert {name: float(column[0]) for name, column in loss.x.items()} == {
        "n_params": best.n_params,
        "n_tokens": best.n_tokens,
    }
    assert (loss.value, loss.lo, loss.hi) == tuple(fit.predict(best.n_params, best.n_tokens))
    assert loss.flops == 1e19 and loss.of is None and loss.log


@pytest.mark.parametrize("log, ends", [(True, (0.5, 8.0)), (False, (-1.0, 5.0))])
def test_an_interval_lies_around_its_value_on_the_scale_of_its_errors(log, ends):
    target = DesignTarget("x", None, 2.0, *ends, np.inf, log)
    assert target.half_width() == pytest.approx(np.log(4) if log else 3.0)
    assert target.narrowed(1.0) == pytest.approx(ends)
    assert target.narrowed(0.5) == pytest.approx((1.0, 4.0) if log else (0.5, 3.5))


@pytest.mark.parametrize(
    "target, words",
    [
        ("loss", "target 'loss'; expected loss@FLOPS"),
        ("loss@much", "expected loss@FLOPS"),
        ("alpha", "'alpha'; expected loss@FLOPS or n_params@FLOPS, such as loss@1e21, or the exponent a"),
        ("n_tokens@1e20", "'n_tokens@1e20'; expected"),
        ("loss@-1e20", r"FLOPs of target loss@-1e20=-1e\+20; it must be positive and finite"),
        ("n_params@inf", "FLOPs of target n_params@inf=inf; it must be positive and finite"),
    ],
)
def test_an_unknown_target_is_refused(plain, target, words):
    with pytest.raises(ValueError, match=words):
        find_target(plain, target, 1e18)


def test_a_law_without_draws_or_without_a_best_size_is_refused(plain):
    for target in ("a", "loss@1e21"):
        with pytest.raises(ValueError, match="no draws; fit again with n_bootstrap=1000"):
            find_target(known(TRUTH), target, 1e18)
    for target in ("loss@1e21", "n_params@1e21", "a"):
        with pytest.raises(ValueError, match=f"target {target}: the law knows no best size yet"):
            find_target(known(TRUTH | {"A": 0.0}, draws=DRAWS), target, 1e18)
    with pytest.raises(ValueError, match="takes no other columns to be given, not unique_tokens"):
        find_target(plain, "a", 1e18, unique_tokens=1e9)
