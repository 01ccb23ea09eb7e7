"""Three approaches on the same runs: they agree on a clean grid, and where a method has a bias it is said."""

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.optimum.approaches import approaches
from scaling.table.runs import check
from tests.scaling.planted import TRUTH, best_size, chinchilla, isoflop_runs

A = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])


def test_on_a_clean_grid_profiles_and_law_agree():
    runs = isoflop_runs((1e18, 3e18, 1e19, 3e19, 1e20), sizes=9)
    found = approaches(runs.usable(), scaling.fit(runs, n_bootstrap=60))
    assert found.exponents[2][0] == pytest.approx(A, abs=0.005)
    assert found.exponents[3][0] == pytest.approx(A, abs=0.001)
    assert abs(found.bias[2]) < 0.005 and "approach 2 (profiles)" in str(found)


def test_what_sets_a_method_apart_on_losses_of_the_law_is_its_bias():
    """Budgets whose sizes lie ever further below the best, under a law of unequal exponents."""
    truth = {"E": 2.1, "A": 250.0, "B": 1e5, "alpha": 0.3, "beta": 0.55}
    budgets = np.geomspace(1e18, 1e20, 5)
    shift = np.linspace(0.4, -0.8, 5)[:, None]
    n = np.exp(np.log(best_size(budgets, **truth))[:, None] + shift + np.linspace(-1.6, 1.6, 5)).ravel()
    d = np.repeat(budgets, 5) / (6 * n)
    runs = check(pd.DataFrame({"n_params": n, "n_tokens": d, "loss": chinchilla(n, d, **truth)}), {})
    found = approaches(runs.usable(), scaling.fit(runs, n_bootstrap=60))
    for approach in (1, 2):
        off = found.exponents[approach][0] - found.exponents[3][0]
        assert off == pytest.approx(found.bias[approach], abs=0.002)
    assert abs(found.bias[1]) > 0.01


def test_other_laws_are_refused():
    runs = isoflop_runs()
    with pytest.raises(ValueError, match="not kaplan"):
        approaches(runs.usable(), scaling.fit(runs, law="kaplan", n_bootstrap=0))
