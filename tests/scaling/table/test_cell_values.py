"""Cells: what is a number, what can be used, how a bad one is named."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from scaling.table.cell_values import (
    far_off,
    is_given,
    name_rows,
    numbers,
    numbers_and_doubts,
    reading,
    shown,
    unusable,
)


@pytest.mark.parametrize(
    "cell, number",
    [
        (3, 3),
        (" 1e6 ", 1e6),
        (10**30, 1e30),
        (np.float32(0.5), 0.5),
        (Decimal("1.5"), 1.5),
        ("inf", np.inf),
        ("7B", 7e9),
    ]
    + [
        (odd, np.nan) for odd in (True, None, pd.NA, "7 bits", "1,000", 1j, [1], {}, 10**400, pd.Timestamp(0))
    ],
)
def test_numbers_in_any_dress(cell, number):
    np.testing.assert_equal(numbers(pd.Series([cell], dtype=object))[0], number)


@pytest.mark.parametrize("dtype", ["float32", "Int64", "string", "category", "int8", "Float64"])
def test_numbers_of_any_type(dtype):
    np.testing.assert_array_equal(numbers(pd.Series([1, 2]).astype(dtype)), [1.0, 2.0])


def test_truth_and_dates_are_no_numbers():
    assert np.isnan(numbers(pd.Series([True, False]))).all()
    assert np.isnan(numbers(pd.to_datetime(pd.Series(["2024-01-01"])))).all()


def test_how_text_was_read_is_said_by_an_example():
    cells = pd.Series(["7.1M", "12", 3, "70B", "many"], dtype=object)
    values, _ = numbers_and_doubts(cells)
    assert reading(cells, "n_params", values) == ["n_params: 7.1M is read as 7100000, and 1 more alike"]
    assert reading(cells[1:3], "n_params", values[1:3]) == []


def test_a_unit_is_of_cells_that_have_none_of_their_own():
    values, unclear = numbers_and_doubts(pd.Series(["7.1", "70B", "1,5", "7,121"], dtype=object), 1e6)
    np.testing.assert_array_equal(values, [7.1e6, 70e9, 1.5e6, 7.121e6])
    assert list(numbers_and_doubts(pd.Series([124, 355]), 1e6)[0]) == [124e6, 355e6] and not unclear.any()


def test_missing_and_said_to_be_missing_is_not_given():
    column = pd.Series([None, np.nan, "NaN", " ", "null", "none", "no", 0], dtype=object)
    assert list(is_given(column)) == [False] * 6 + [True] * 2


@pytest.mark.parametrize(
    "column, usable",
    [
        ("n_params", [1e6]),
        ("unique_tokens", [1e6]),
        ("loss", [1e6, np.nan, np.inf]),
        ("kl", [1e6, 0.0, -1.0]),
    ],
)
def test_what_can_be_used_depends_on_the_column(column, usable):
    values = np.array([1e6, 0.0, -1.0, np.nan, np.inf])
    wrong = np.any([rows for rows, _ in unusable(column, values)], axis=0)
    np.testing.assert_array_equal(values[~wrong], np.array(usable))


def test_values_out_of_all_proportion():
    values = np.array([1e6, 1e7, 1e8, 1e30, 1e-30, np.nan, -1.0])
    assert list(np.flatnonzero(far_off(values))) == [3, 4]
    assert not far_off(np.geomspace(1e3, 1e12, 10)).any()
    assert not far_off(np.array([np.nan, 0.0])).any()


def test_a_few_bad_rows_are_named_and_the_rest_counted():
    table = pd.DataFrame({"run_id": list("abcdefgh"), "loss": -1})
    notes = name_rows(table, np.arange(8) > 0, "loss", "must be positive")
    assert notes[0] == "row 2 (run_id b): loss=-1 must be positive"
    assert len(notes) == 6 and notes[-1] == "and 2 more rows whose loss must be positive"


def test_a_cell_is_shown_on_one_short_line():
    assert shown("a\n b") == "a b" and len(shown("x" * 99)) == 41
