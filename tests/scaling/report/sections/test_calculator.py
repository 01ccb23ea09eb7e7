"""The grid that the calculator interpolates; the page's arithmetic: test_report_browser.py."""

from dataclasses import replace

import numpy as np
import pytest

import scaling
from scaling.optimum.families import flops_per_token
from scaling.report.sections.calculator import RATIOS
from scaling.report.sections.calculator import grid as calculator_grid


@pytest.fixture(scope="module")
def data(grid):
    return grid


def test_middle_of_the_grid_is_the_frontier(data):
    table, law = calculator_grid(data, data.runs.table), data.runs.table
    best = scaling.frontier(data.fit, np.array(table["flops"]), flops_per_token(law))
    middle = len(RATIOS) // 2
    for name, expected in (("loss", best.loss), ("lo", best.loss_lo), ("hi", best.loss_hi)):
        assert np.array(table[name])[:, middle] == pytest.approx(expected, rel=1e-5)
    assert table["n_params"] == pytest.approx(best.n_params, rel=1e-5)
    assert table["d_hi"] == pytest.approx(best.n_tokens_hi, rel=1e-5)


def test_flops_a_token_are_those_of_the_runs(data):
    table = calculator_grid(data, data.runs.table)
    n_params = np.array([2e4, 3e5])
    predicted = table["per_token"] * n_params ** table["exponent"]
    assert predicted == pytest.approx(flops_per_token(data.runs.table)(n_params), rel=1e-9)


def test_what_was_not_swept_is_not_shown(data):
    assert not {"lr", "batch_tokens"} & set(calculator_grid(data, data.runs.table))


def test_no_law_no_calculator(data):
    assert calculator_grid(replace(data, fit=None), data.runs.table) == {}
