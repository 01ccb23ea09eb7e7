"""The schedule of rows: exact shares, even at every prefix, read in any order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.batches.mixtures.schedule import PERIOD, rows_of_a_period, schedule

weights = st.lists(st.integers(0, 60), min_size=1, max_size=9).filter(any)


def test_a_schedule_by_hand():
    found = schedule(np.array([0.5, 0.25, 0.25]))
    assert found.component.tolist() == [0, 1, 0, 2] and found.number.tolist() == [0, 0, 1, 0]
    component, number = found.rows(np.array([6, 4, 9]))
    assert component.tolist() == [0, 0, 1] and number.tolist() == [3, 2, 2]
    assert found.rows_until(7).tolist() == [4, 2, 1]


def test_shares_that_are_simple_fractions_are_exact_and_others_nearly():
    assert rows_of_a_period(np.array([0.7, 0.2, 0.1])) == [7, 2, 1]
    assert rows_of_a_period(np.array([1 / 3, 0, 2 / 3])) == [1, 0, 2]
    irrational = np.array([np.sqrt(0.5), 1 - np.sqrt(0.5) - 1e-9, 1e-9])
    counts = rows_of_a_period(irrational)
    assert sum(counts) == PERIOD and counts[2] == 1  # what has any share is read
    assert np.abs(np.array(counts) / PERIOD - irrational).max() <= 1 / PERIOD


@given(weights)
def test_every_prefix_is_within_one_row_of_each_share(weights):
    share = np.array(weights) / sum(weights)
    found = schedule(share)
    n = np.arange(1, 2 * len(found.component) + 1)
    component, number = found.rows(n - 1)
    seen_NK = np.cumsum(component[:, None] == np.arange(len(share)), axis=0)
    assert (np.abs(seen_NK - n[:, None] * share) < 1).all()
    # A component's rows are numbered in turn, and counting does not need the rows.
    assert (number == seen_NK[n - 1, component] - 1).all()
    for k in (1, len(n) // 2, len(n)):
        assert (found.rows_until(k) == seen_NK[k - 1]).all()


@given(st.lists(st.floats(1e-7, 1), min_size=2, max_size=6))
def test_rounded_shares_are_even_too(weights):
    share = np.array(weights) / sum(weights)
    found = schedule(share)
    exact = found.counts / found.counts.sum()
    assert np.abs(exact - share).max() < len(share) / PERIOD
    n = np.arange(1, min(len(found.component), 3000) + 1)
    seen_NK = np.cumsum(found.component[: len(n), None] == np.arange(len(share)), axis=0)
    assert (np.abs(seen_NK - n[:, None] * exact) < 1).all()
