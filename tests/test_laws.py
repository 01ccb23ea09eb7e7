"""The laws: what holds for each, whatever its parameters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.laws import CHINCHILLA, FORMS
from scaling.laws.chinchilla import CHINCHILLA_LOOSE
from scaling.solver import values

FORM_LIST = list(FORMS.values())
POINTS = {"n_params": np.geomspace(1e4, 1e12, 7), "n_tokens": np.geomspace(1e6, 1e13, 7)}


@pytest.mark.parametrize("law", FORM_LIST, ids=lambda law: law.name)
def test_a_law_is_the_same_in_any_units(law):
    rng = np.random.default_rng(0)
    units = {"n_params": 3e7, "n_tokens": 2e9, "loss": 2.7}
    theta = np.array(law.starts) * np.exp(0.1 * rng.standard_normal(np.shape(law.starts)))
    scaled = {c: POINTS[c] / units[c] for c in law.columns}
    natural = values(law, law.unscale(theta, units), POINTS)
    np.testing.assert_allclose(natural, units["loss"] * values(law, theta, scaled), rtol=1e-9)


@pytest.mark.parametrize("law", FORM_LIST, ids=lambda law: law.name)
def test_starts_and_priors_lie_inside_the_bounds(law):
    low, high = np.array(law.bounds).T
    assert np.all((np.array(law.starts) > low) & (np.array(law.starts) < high))
    mean, sd = np.array(law.prior).T
    known = np.isfinite(sd)
    assert np.all((mean[known] >= low[known]) & (mean[known] <= high[known]))
    assert law.source and law.formula


positive = st.floats(0.05, 1.5)


@settings(deadline=None, max_examples=30)
@given(positive, positive, st.floats(0.1, 3.0), st.floats(0.0, 0.9))
def test_the_loose_law_with_its_ties_made_fast_is_chinchillas(alpha, beta, ratio, floor):
    A, B = ratio, 1.0
    total = alpha + beta
    # On the frontier (u = 0) the terms are K q / (p + q) and K p / (p + q).
    g = np.log(alpha * A / (beta * B)) / total
    K = A * np.exp(-alpha * g) * total / beta
    tied = np.array([[floor, K, 1.0, alpha, beta, g, beta / total]])
    x = {"n_params": np.geomspace(0.1, 10, 6), "n_tokens": np.geomspace(3, 0.2, 6)}
    want = values(CHINCHILLA, np.array([[floor, A, B, alpha, beta]]), x)
    np.testing.assert_allclose(values(CHINCHILLA_LOOSE, tied, x), want, rtol=1e-9)


def test_the_loose_law_is_lowest_on_its_frontier_at_equal_compute():
    theta = np.array([[0.4, 0.6, 0.8, 0.3, 0.6, 0.2, 0.45]])
    log_c = 1.7
    log_n = 0.2 + 0.45 * log_c + np.linspace(-1, 1, 101)
    losses = values(CHINCHILLA_LOOSE, theta, {"n_params": np.exp(log_n), "n_tokens": np.exp(log_c - log_n)})[
        0
    ]
    assert losses.argmin() == 50
