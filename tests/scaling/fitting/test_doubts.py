"""What makes a fit doubtful: the places of its runs, and losses that no power law has."""

import numpy as np
import pytest

import scaling
from scaling.fitting.doubts import design_doubts
from scaling.laws import CHINCHILLA, find
from tests.scaling.planted import isoflop_runs

SIZES = np.geomspace(1e7, 1e9, 8)
N, D = (each.ravel() for each in np.meshgrid(SIZES, np.geomspace(1e9, 1e11, 5)))


@pytest.mark.parametrize(
    "n, d, words",
    [
        (SIZES, 20 * SIZES, ["n_tokens / n_params is 20 in every run: A, alpha cannot be told from B, beta"]),
        (
            SIZES,
            1e3 * SIZES**0.7,
            ["n_tokens follow n_params along one line: A, alpha cannot be told from B, beta"],
        ),
        (SIZES, 0 * SIZES + 1e10, ["n_tokens is 1e+10 in every run: B, beta cannot be known"]),
        (0 * SIZES + 1e8, 1e3 * SIZES, ["n_params is 1e+08 in every run: A, alpha cannot be known"]),
        (SIZES, 1e18 / SIZES, []),  # of a single budget too_few speaks
        (N, D, []),
        (N, 20 * N * np.exp(np.linspace(-1, 1, len(N))), []),
    ],
)
def test_which_parameters_a_design_leaves_open(n, d, words):
    assert design_doubts(CHINCHILLA, {"n_params": n, "n_tokens": d}) == words


def test_laws_without_both_terms_are_spoken_of_in_words_or_not_at_all():
    assert design_doubts(find("broken"), {"flops": SIZES}) == []
    (said,) = design_doubts(find("chinchilla-decoupled"), {"n_params": SIZES, "n_tokens": 20 * SIZES})
    assert said.endswith("every run: what size does cannot be told from what data do")


def test_a_fit_carries_it_into_its_doubt_and_its_json():
    table = isoflop_runs(noise=0.002).table[["n_params", "loss"]]
    fit = scaling.fit(table.assign(n_tokens=20 * table.n_params), n_bootstrap=0)
    words = "n_tokens / n_params is 20 in every run: A, alpha cannot be told from B, beta"
    assert fit.design == (words,) and words in fit.doubt and words in str(fit)
    assert scaling.Fit.from_json(fit.to_json()).design == fit.design


def test_runs_too_small_for_a_power_law_are_told():
    """Whose loss falls slowly at first, and then faster."""
    table = isoflop_runs(noise=0.003).table
    octaves = np.log2(table.n_params * table.n_tokens / (table.n_params * table.n_tokens).min())
    early = scaling.fit(table.assign(loss=table.loss * np.exp(-0.01 * octaves**2)), n_bootstrap=0)
    assert "as no power law does: larger runs may end off its line" in early.doubt
    assert "power law" not in scaling.fit(table, n_bootstrap=0).doubt
