"""Numbers of people: each is read as what was meant, or not at all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.table.number_text import read_numbers

UNCLEAR = "unclear"


@pytest.mark.parametrize(
    "cells, meant",
    [
        (["7,121,395", "950,000", "12"], [7121395, 950000, 12]),
        (["7.121.395", "950.000", "12"], [7121395, 950000, 12]),
        (["7.121.395,5", "1.234"], [7121395.5, 1234]),
        (["1,234.5", "1,234"], [1234.5, 1234]),
        (["3,125", "2,75"], [3.125, 2.75]),
        (["3.125", "2.75"], [3.125, 2.75]),
        (["3,125", "2,875"], [UNCLEAR, UNCLEAR]),
        (["3,125", "2.75"], [UNCLEAR, 2.75]),  # the dot of one does not say what the comma of another is
        (["3.125", "2,75"], [UNCLEAR, 2.75]),
        (["3.125", "2,75", "1.5"], [3.125, 2.75, 1.5]),
        (["7,121,395", "12,5", "1,234"], [7121395, 12.5, UNCLEAR]),
        (["7.1M", "7,1 m", "12k", "3T", "70B", "1.5bn"], [7.1e6, 7.1e6, 12e3, 3e12, 70e9, 1.5e9]),
        (["7,121M"], [UNCLEAR]),
        (["7 121 395", "7'121'395", "7_121_395", "7\u202f121\u00a0395"], [7121395] * 4),
        (["1e6", "1,5e6", " 2E-3 ", "-2,5", "+.5", "0,125"], [1e6, 1.5e6, 2e-3, -2.5, 0.5, 0.125]),
        (["inf", "-inf", 3, np.float32(0.5)], [np.inf, -np.inf, 3, 0.5]),
    ],
)
def test_what_a_column_of_text_says(cells, meant):
    values, _, unclear = read_numbers(cells)
    np.testing.assert_array_equal(unclear, [number is UNCLEAR for number in meant])
    np.testing.assert_array_equal(values[~unclear], [number for number in meant if number is not UNCLEAR])
    assert np.isnan(values[unclear]).all()


@pytest.mark.parametrize(
    "cell",
    ["", "abc", "7Q", "1e6M", "5e", "1,00,000", "7.12.1", "12 34", "1.2.3", "0x10", "7M params", "--3"],
)
def test_what_is_no_number_is_none(cell):
    values, _, unclear = read_numbers([cell])
    assert np.isnan(values[0]) and not unclear[0]


NUMBERS = st.lists(st.decimals(0, 10**12, places=3), min_size=1, max_size=6)


def written(number, thousands: str, mark: str, places: int) -> str:
    return f"{number:,.{places}f}".translate({ord(","): thousands, ord("."): mark})


@settings(deadline=None)
@given(
    NUMBERS,
    st.sampled_from([(",", "."), (".", ","), (" ", "."), (" ", ","), ("", "."), ("", ",")]),
    st.data(),
)
def test_whatever_the_style_a_number_is_read_as_meant_or_not_at_all(numbers, style, data):
    """Thousands with dots need a cell that says so: alone, 7.121 is what a program writes."""
    places = data.draw(st.lists(st.integers(0, 3), min_size=len(numbers), max_size=len(numbers)))
    meant = [round(float(number), each) for number, each in zip(numbers, places)]
    cells = [written(number, *style, each) for number, each in zip(meant, places)]
    if style[0] == ".":
        meant, cells = [*meant, 1234567.0], [*cells, "1.234.567"]
    values, _, unclear = read_numbers(cells)
    for cell, value, number in zip(cells, values, meant):
        assert value == pytest.approx(number, rel=1e-12) or (np.isnan(value) and cell), cell
    assert np.isnan(values[unclear]).all() and not np.isnan(values[~unclear]).any()


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_what_a_program_wrote_is_read_to_the_last_bit(numbers):
    values, _, unclear = read_numbers([repr(number) for number in numbers])
    np.testing.assert_array_equal(values, numbers)
    assert not unclear.any()
