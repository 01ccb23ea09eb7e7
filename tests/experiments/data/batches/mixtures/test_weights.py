"""Shares of components: by hand, and what must hold of any corpus."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.batches.mixtures.weights import shares, temperature_sampling, unimax
from experiments.data_configs import MixtureConfig
from experiments.fields import Numbers

TOKENS = {"code": 100, "prose": 10_000, "verse": 1}


def test_fixed_weights_are_proportions_and_a_component_without_one_is_not_read():
    mixture = MixtureConfig(Numbers(prose=3, code=1))
    assert shares(mixture, TOKENS, 1).tolist() == [0.25, 0.75, 0]


def test_temperature_by_hand():
    assert np.allclose(temperature_sampling(np.array([100.0, 10_000]), 2), [1 / 11, 10 / 11])
    assert np.allclose(temperature_sampling(np.array([1.0, 3]), 1), [0.25, 0.75])
    assert temperature_sampling(np.array([1e-3, 1e15]), float("inf")).tolist() == [0.5, 0.5]
    # T5's and XLM-R's α = 0.3 is a temperature of 1 / 0.3.
    assert np.allclose(
        shares(MixtureConfig(temperature=1 / 0.3), TOKENS, 1)[2], 1 / (100**0.3 + 1e4**0.3 + 1)
    )


def test_unimax_by_hand():
    """A budget of 300: the smallest has 4 · 10; of the 260 left each of the others has half."""
    assert np.allclose(unimax(np.array([1000.0, 10, 100]), 300, 4), np.array([130, 40, 130]) / 300)
    # All are capped: two epochs of everything.
    assert np.allclose(unimax(np.array([30.0, 10]), 80, 2), [0.75, 0.25])


@given(
    counts=st.lists(st.integers(1, 10**9), min_size=1, max_size=8),
    used=st.floats(0.01, 1),
    max_epochs=st.floats(0.1, 20),
)
def test_unimax_spends_the_budget_caps_epochs_and_is_as_equal_as_that_allows(counts, used, max_epochs):
    counts = np.array(counts, float)
    budget = used * max_epochs * counts.sum()
    given = unimax(counts, budget, max_epochs) * budget
    assert np.isclose(given.sum(), budget)
    assert (given <= max_epochs * counts * (1 + 1e-9)).all()
    uncapped = given[given < max_epochs * counts * (1 - 1e-9)]
    if len(uncapped):
        assert np.allclose(
            uncapped, given.max()
        )  # who is not capped has most, and all of these have the same


@given(counts=st.lists(st.integers(1, 10**12), min_size=2, max_size=8), temperature=st.floats(1, 100))
def test_a_higher_temperature_is_nearer_to_equal_shares_and_keeps_the_order(counts, temperature):
    counts = np.array(counts, float)
    cold, warm = temperature_sampling(counts, 1), temperature_sampling(counts, temperature)
    assert np.isclose(warm.sum(), 1) and warm.max() <= cold.max() * (1 + 1e-9)
    assert (np.diff(warm[np.argsort(counts)]) >= 0).all()


def test_a_name_that_is_no_components_and_a_run_longer_than_its_epochs_are_refused():
    with pytest.raises(ValueError, match=r"weights: no component 'vers'; did you mean 'verse'\?"):
        shares(MixtureConfig(Numbers(vers=1)), TOKENS, 1)
    with pytest.raises(ValueError, match="no component 'x'; there are code, prose, verse"):
        shares(MixtureConfig(Numbers(x=1)), TOKENS, 1)
    with pytest.raises(
        ValueError, match=r"max_epochs=2: so many epochs .* 20,202 tokens, less than the run's 20,203"
    ):
        shares(MixtureConfig(max_epochs=2), TOKENS, 20_203)
