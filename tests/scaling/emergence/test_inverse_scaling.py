"""Inverse scaling and U-shapes: planted shapes are found, monotone ones are not called turns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.emergence.inverse_scaling import VERDICTS, classify_trend

SE = 0.05
MONOTONE = {
    "flat": lambda u: 0 * u,
    "line": lambda u: 0.3 * u,
    "flat, then steep": lambda u: 3 * np.maximum(u - 0.5, 0),
    "steep, then flat": lambda u: -3 * np.minimum(u, 0.5),
    "flat with a last leap": lambda u: 1.0 * (u > 0.9),
    "sigmoid": lambda u: 1 / (1 + np.exp(-12 * (u - 0.5))),
}
U_SHAPE = lambda u: 0.8 * np.abs(u - 0.5)  # noqa: E731


def shapes(curve, n=10, seeds=100, known=True, **options):
    u, se = np.linspace(0, 1, n), np.full(n, SE) if known else None
    draws = [np.random.default_rng(seed).standard_normal(n) for seed in range(seeds)]
    return [classify_trend(10 ** (18 + 6 * u), curve(u) + SE * z, se, n_draws=300, **options) for z in draws]


def share(found, *kinds):
    return np.mean([one.kind in kinds for one in found])


@pytest.mark.parametrize("seeds", [30, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("form", MONOTONE)
def test_monotone_curves_turn_no_more_often_than_stated(form, known, seeds):
    found = shapes(MONOTONE[form], known=known, seeds=seeds)
    assert share(found, "u_shaped", "inverted_u") <= (0.07 if seeds > 30 else 0.1)


@pytest.mark.slow
def test_the_worst_monotone_curve_uses_the_level():
    found = shapes(lambda u: 5 * np.maximum(u - 0.7, 0), n=20, seeds=300)
    assert 0.02 < np.mean([one.p_turn < 0.1 for one in found]) < 0.14


@pytest.mark.parametrize("known, power", [(True, 0.95), (False, 0.8)])
def test_planted_turns_are_found_and_their_place_covered(known, power):
    found = shapes(U_SHAPE, known=known, seeds=40)
    assert share(found, "u_shaped") > power
    turned = [one for one in found if one.kind == "u_shaped"]
    assert np.mean([one.turn_lo <= 1e21 <= one.turn_hi for one in turned]) > 0.95
    assert np.median([one.turn_hi / one.turn_lo for one in turned]) < 1e4  # of six decades
    assert all(one.slope_below < 0 < one.slope_above for one in turned)


def test_what_is_better_decides_the_name():
    assert share(shapes(U_SHAPE, seeds=30, higher_is_better=False), "inverted_u") > 0.95
    assert share(shapes(lambda u: -U_SHAPE(u), seeds=30), "inverted_u") > 0.95
    assert share(shapes(lambda u: -0.5 * u, seeds=30), "inverse") > 0.95
    assert share(shapes(lambda u: -0.5 * u, seeds=30, higher_is_better=False), "improves") > 0.95
    assert share(shapes(lambda u: 0 * u, seeds=30), "undecided") > 0.85


def test_a_noiseless_u_by_hand():
    found = classify_trend(10.0 ** np.arange(6), [4.0, 3.0, 2.0, 1.0, 3.0, 5.0], [0.1] * 6)
    assert found.kind == "u_shaped"
    assert (found.turn, found.turn_lo, found.turn_hi) == pytest.approx((1000, 100, 10000))
    assert (found.slope_below, found.slope_above) == pytest.approx((-1.0, 2.0))
    assert "the turn at 1e+03 [1e+02, 1e+04]" in str(found)


def test_more_scatter_than_the_errors_say_is_not_a_turn():
    u, se = np.linspace(0, 1, 10), np.full(10, 1e-3)
    found = [
        classify_trend(10 ** (6 * u), np.random.default_rng(seed).standard_normal(10), se, n_draws=300)
        for seed in range(100)
    ]
    assert share(found, "u_shaped", "inverted_u") <= 0.08


def test_replicates_and_order_are_fine():
    scale, value = (
        np.repeat([1.0, 10, 100, 1000], 3),
        np.repeat([3.0, 1, 1, 4], 3) + np.tile([0, 0.1, -0.1], 4),
    )
    order = np.random.default_rng(0).permutation(12)
    found = classify_trend(scale[order], value[order])
    assert found.kind == "u_shaped" and found.turn_lo == 1 and found.turn_hi == 1000


@pytest.mark.parametrize(
    "scale, value, se, words",
    [
        ([1, 2, 3], [1, 2, 3], None, "3 different scales"),
        ([1, 2, 3, 4], [1, 2, 3], None, "equal length"),
        ([0, 1, 2, 3], [1, 2, 3, 4], None, "positive"),
        ([1, 2, 3, 4], [1, 2, 3, np.nan], None, "finite"),
        ([1, 2, 3, 4], [1, 2, 3, 4], [0, 1, 1, 1], "se must be positive"),
    ],
)
def test_bad_input_is_refused(scale, value, se, words):
    with pytest.raises(ValueError, match=words):
        classify_trend(scale, value, se)


POINT = st.tuples(
    st.sampled_from([1e-300, 1.0, 1e18, 1e300]) | st.floats(1e-9, 1e30),
    st.sampled_from([0.0, 1.0, 1e-300, 1e30]) | st.floats(-1e30, 1e30),
    st.sampled_from([1e-12, 1.0, 1e12]),
)


@given(st.lists(POINT, min_size=1, max_size=20), st.booleans())
@settings(max_examples=40)
def test_hostile_values_end_in_a_shape_or_a_clear_refusal(points, known):
    scale, value, se = zip(*points)
    try:
        found = classify_trend(scale, value, se if known else None, n_draws=10)
    except ValueError as refusal:
        assert "different scales" in str(refusal)
    else:
        assert found.kind in VERDICTS and 0 < found.p_turn <= 1 and 0 < found.p_trend <= 1 and str(found)


def test_values_that_are_all_equal_have_no_shape():
    assert classify_trend(10.0 ** np.arange(8), np.ones(8)).kind == "undecided"
