"""Numbers as people read them, and the ticks of axes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.report import theme

UNITS = {"": 1, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
PLAIN = str.maketrans("⁻" + theme.SUPERSCRIPTS, "-0123456789")


def test_numbers_for_people():
    assert [theme.si(v) for v in (999.6, 34_900, 1.2e9, 7e13)] == ["1k", "34.9k", "1.2B", "70T"]
    assert [theme.sci(v) for v in (2.6e12, 1e11, 3e-4)] == ["2.6×10¹²", "10¹¹", "3×10⁻⁴"]
    assert [theme.e_notation(v) for v in (2.84e12, 3e10)] == ["2.8e12", "3e10"]
    assert [theme.four(v) for v in (12_850.4, 0.34731, -1500.0, 2e7)] == ["12850", "0.3473", "-1500", "2e+07"]
    assert [theme.signed(v) for v in (0.5, -2.0, 0.0)] == ["+0.5", "−2", "0"]


@given(st.floats(1e-30, 1e30))
def test_what_is_written_is_the_number_to_its_digits(value):
    text = theme.si(value)
    unit = text[-1] if text[-1].isalpha() else ""
    assert math.isclose(float(text.removesuffix(unit)) * UNITS[unit], value, rel_tol=0.0051)
    mantissa, _, power = theme.sci(value).rpartition("10")
    exponent = float(power.translate(PLAIN))
    assert math.isclose(float(mantissa.removesuffix("×") or 1) * 10**exponent, value, rel_tol=0.051)
    assert math.isclose(float(theme.e_notation(value)), value, rel_tol=0.051)


@pytest.mark.parametrize(
    "low, high", [(1.4, 2.9), (0.001, 0.2), (1e9, 3e12), (7e3, 3e5), (1e17, 1e26), (2.0, 2.01)]
)
def test_axes_have_a_readable_number_of_ticks(low, high):
    ticks = theme.log_ticks(low, high)
    assert 3 <= len(ticks) <= 10 and all(low <= tick <= high for tick in ticks)


@given(st.floats(-6, 20), st.floats(0.01, 20))
def test_ticks_rise_within_the_axis_whatever_it_spans(power, decades):
    low, high = 10**power, 10 ** (power + decades)
    for ticks in (theme.log_ticks(low, high), theme.linear_ticks(low, high)):
        assert 2 <= len(ticks) <= 10 and low <= ticks[0] and ticks[-1] <= high
        assert ticks == sorted(set(ticks))
