"""The grid that the calculator interpolates; the page's arithmetic: test_report_browser.py."""

from dataclasses import replace

import numpy as np
import pytest

import scaling
from scaling.report.sections.calculator import RATIOS
from scaling.report.sections.calculator import grid as calculator_grid


@pytest.fixture(scope="module")
def data(grid):
    return grid


def test_middle_of_the_grid_is_the_frontier(data):
    table = calculator_grid(data, data.runs.table)
    best = scaling.frontier(data.fit, np.array(table["flops"]))
    middle = len(RATIOS) // 2
    for name, expected in (("loss", best.loss), ("lo", best.loss_lo), ("hi", best.loss_hi)):
        assert np.array(table[name])[:, middle] == pytest.approx(expected, rel=1e-5)
    assert table["n_params"] == pytest.approx(best.n_params, rel=1e-5)
    assert table["d_hi"] == pytest.approx(best.n_tokens_hi, rel=1e-5)


def test_flops_a_token_are_those_of_the_runs(data):
    table = calculator_grid(data, data.runs.table)
    counted = 6.3 * np.array(table["sizes"])  # as the synthetic runs are
    assert table["per_token"] == pytest.approx(counted, rel=1e-5)
    largest = table["n_params"][-1] * RATIOS[-1]
    assert table["sizes"][-1] == pytest.approx(largest, rel=1e-5)


def test_what_was_not_swept_is_not_shown(data):
    assert not {"lr", "batch_tokens"} & set(calculator_grid(data, data.runs.table))


def test_no_law_no_calculator(data):
    assert calculator_grid(replace(data, fit=None), data.runs.table) == {}
