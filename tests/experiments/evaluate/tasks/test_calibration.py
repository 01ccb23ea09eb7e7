"""Calibration: bins by hand, what holds of any responses, and a model that knows how sure it may be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.evaluate.tasks.calibration import calibrate, calibration_of
from tests.experiments.evaluate.answered import answered, choice

CONFIDENCE_AND_RIGHT = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


def test_calibration_by_hand():
    found = calibration_of(np.array([0.55, 0.55, 0.95, 0.95]), np.array([1.0, 0.0, 1.0, 1.0]))
    assert found.ece == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert found.brier == pytest.approx((0.45**2 + 0.55**2 + 2 * 0.05**2) / 4)
    assert found.brier == pytest.approx(found.reliability - found.resolution + found.uncertainty)
    assert [one.n for one in found.bins] == [2, 2]


def test_a_model_that_says_what_it_knows_is_calibrated():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 20000)
    right = (rng.random(20000) < confidence).astype(float)
    assert calibration_of(confidence, right).ece < 0.02
    assert calibration_of(np.minimum(confidence + 0.2, 1), right).ece > 0.1


def test_whoever_is_certain_is_in_the_last_bin_and_empty_bins_are_left_out():
    found = calibration_of(np.array([1.0, 0.8, 0.0]), np.array([1.0, 0.0, 0.0]), n_bins=4)
    assert [(one.n, one.confidence, one.accuracy.value) for one in found.bins] == [(1, 0, 0), (2, 0.9, 0.5)]


@given(CONFIDENCE_AND_RIGHT)
def test_bins_hold_every_item_and_their_gaps_do_not_cancel(pairs):
    confidence, right = np.array(pairs, float).T
    found = calibration_of(confidence, right)
    assert sum(one.n for one in found.bins) == len(pairs)
    gap = abs(confidence.mean() - right.mean())
    assert gap - 1e-9 <= found.ece <= math.sqrt(found.reliability) + 1e-9
    assert found.resolution <= found.uncertainty + 1e-9


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1)), min_size=1, max_size=40))
def test_brier_falls_into_its_parts_where_a_bin_has_one_confidence(pairs):
    bins, right = np.array(pairs, float).T
    found = calibration_of((bins + 0.5) / 10, right)
    assert found.brier == pytest.approx(found.reliability - found.resolution + found.uncertainty, abs=1e-9)


def test_confidence_is_the_probability_of_the_likeliest_choice_given_that_it_is_one_of_them():
    responses = answered(
        "multiple_choice",
        choice("1", math.log(0.06), math.log(0.02), right=0),  # 3/4, right
        choice("2", math.log(0.02), math.log(0.06), right=0),  # 3/4, wrong
        choice("3", math.log(0.01), math.log(0.03), right=1),  # 3/4, right
        choice("4", -900, -900, right=1),  # 1/2; of equal choices the first, which is wrong
    )
    found = calibrate(responses)
    assert [(one.n, one.accuracy.value) for one in found.bins] == [(1, 0), (3, 2 / 3)]
    assert [one.confidence for one in found.bins] == pytest.approx([0.5, 0.75])
    assert found.ece == pytest.approx(1 / 4 * 1 / 2 + 3 / 4 * 1 / 12)


def test_only_choices_can_be_calibrated():
    responses = answered("cloze", (choice("1", -1)[0], {"logprob": -1.0, "greedy": True}))
    with pytest.raises(ValueError, match="t: calibration needs choices, and its metric is cloze"):
        calibrate(responses)
