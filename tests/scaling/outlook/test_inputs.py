"""Inputs of the forecast: their intervals, their sources, and how they are changed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.outlook.inputs import CENTRAL, SCENARIOS, Input, apply_settings, list_inputs

NORMAL = np.random.default_rng(0).standard_normal(20000)


@given(*[st.floats(1e-6, 1e6)] * 3)
def test_draws_have_the_stated_quantiles(a, b, c):
    lo, value, hi = sorted([a, b, c])
    drawn = Input(value, lo, hi, "", "").draw(NORMAL)
    assert np.quantile(drawn, [0.05, 0.5, 0.95]) == pytest.approx(
        [lo, value, hi], rel=0.03 + 0.03 * math.log(hi / lo)
    )


@pytest.mark.parametrize(
    "numbers", [(1, 2, 3), (2, 1, 1.5), (0, 0, 1), (-1, -2, 1), (1, 1, math.inf), (math.nan, 1, 1)]
)
def test_impossible_inputs_are_refused(numbers):
    with pytest.raises(ValueError, match="expected positive, finite numbers in order"):
        Input(*numbers, "", "")


def test_every_input_has_a_unit_a_source_with_a_year_or_is_called_a_guess():
    for name, _, value in list_inputs(SCENARIOS):
        assert value.unit and value.source, name
        if name != "overtraining":  # a choice, not a fact
            assert "20" in value.source or "arXiv" in value.source or "guess" in value.source, name


def test_what_grows_has_a_year():
    for name, _, value in list_inputs(SCENARIOS):
        assert (value.year is None) == (name.endswith("_growth") or name in (
            "tokens_per_param", "overtraining", "mfu", "longest_run_days"
        )), name  # fmt: skip


def test_a_value_alone_is_certain_and_an_interval_is_kept():
    found = apply_settings(SCENARIOS, ["text_stock=300T", "mfu = 0.35:0.3:0.4", "largest_run=1e27@2026.25"])
    for inputs in found.values():
        assert (inputs.text_stock.value, inputs.text_stock.lo, inputs.text_stock.hi) == (3e14, 3e14, 3e14)
        assert inputs.text_stock.year == CENTRAL.text_stock.year and inputs.text_stock.source == "given"
        assert (inputs.mfu.lo, inputs.mfu.hi, inputs.mfu.year) == (0.3, 0.4, None)
        assert inputs.largest_run.year == 2026.25
    assert np.unique(found["slow"].text_stock.draw(NORMAL)) == pytest.approx([3e14])


def test_one_scenario_can_be_changed_alone():
    found = apply_settings(SCENARIOS, ["slow.compute_growth=2:1.5:3"])
    assert found["slow"].compute_growth.value == 2
    assert found["central"] == SCENARIOS["central"]
    assert SCENARIOS["slow"].compute_growth.value != 2


def test_later_settings_win():
    assert apply_settings(SCENARIOS, ["mfu=0.3", "fast.mfu=0.5", "mfu=0.2"])["fast"].mfu.value == 0.2


@pytest.mark.parametrize(
    "setting, words",
    [
        ("texts=1", "unknown input 'texts'; there are largest_run"),
        ("best.mfu=0.4", "unknown scenario 'best'; there are slow, central, fast"),
        ("mfu", "expected NAME=VALUE"),
        ("mfu=much", "expected NAME=VALUE"),
        ("mfu=0.4:0.3", "expected NAME=VALUE"),
        ("mfu=-0.4", "expected NAME=VALUE"),
        ("mfu=0.4:0.5:0.6", "in order"),
        ("mfu=4", "at most 1"),
        ("mfu=0", "positive"),
        ("compute_growth=1e40", "times a year, 0.01 to 100"),
        ("text_stock=1e70", "1e-30 to 1e60"),
        ("text_stock=1e999", "finite"),
        ("mfu=0.4@2025", "of no year"),
    ],
)
def test_wrong_settings_are_refused_by_name(setting, words):
    with pytest.raises(ValueError, match=words) as caught:
        apply_settings(SCENARIOS, [setting])
    assert setting in str(caught.value)
