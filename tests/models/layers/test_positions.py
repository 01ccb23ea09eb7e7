"""Positions by hand: rotations, how they are stretched, sinusoids."""

import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from models import RopeScaling
from models.layers.positions import rope, rope_frequencies, rope_tables, sinusoids


def test_rope_makes_scores_depend_on_distance_only():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))

    def score(i, j):
        turned = [rope(x, *rope_tables(jnp.array([[p]]), 8, 10_000.0)) for x, p in ((q, i), (k, j))]
        return float((turned[0] * turned[1]).sum())

    assert np.isclose(score(3, 1), score(10, 8), atol=1e-5)
    assert not np.isclose(score(3, 1), score(3, 2), atol=1e-3)
    np.testing.assert_allclose(rope(q, *rope_tables(jnp.array([[0]]), 8, 10_000.0)), q)


def test_rope_turns_dimension_i_with_the_one_half_a_head_further():
    tables = rope_tables(jnp.array([[2]]), 4, 100.0)  # by 2 and by 2 / 100^(2/4) radians
    first, second, third = (rope(jnp.eye(4)[i][None, None, None], *tables)[0, 0, 0] for i in (0, 1, 2))
    np.testing.assert_allclose(first, [math.cos(2), 0, math.sin(2), 0], atol=1e-6)
    np.testing.assert_allclose(second, [0, math.cos(0.2), 0, math.sin(0.2)], atol=1e-6)
    np.testing.assert_allclose(third, [-math.sin(2), 0, math.cos(2), 0], atol=1e-6)


def test_far_positions_are_exact_in_half_precision():
    """Position 4095 itself would be rounded to 4096, more than half a turn away."""
    x = jnp.ones((1, 1, 1, 4), jnp.bfloat16)
    turned = rope(x, *rope_tables(jnp.array([[4095]], jnp.int32), 4, 100.0))
    angles = np.array([4095, 409.5])
    expected = np.concatenate([np.cos(angles) - np.sin(angles), np.cos(angles) + np.sin(angles)])
    assert turned.dtype == jnp.bfloat16
    np.testing.assert_allclose(turned.astype(np.float32)[0, 0, 0], expected, atol=0.01)


def test_linear_stretching_divides_positions():
    stretched = rope_tables(jnp.arange(9), 8, 50.0, RopeScaling("linear", 4.0))
    np.testing.assert_allclose(stretched, rope_tables(jnp.arange(9) / 4, 8, 50.0), atol=1e-6)


# Pairs 0 to 3 turn 16, 8, 4 and 2 times within the length trained on.
THETA, TRAINED = 16.0, 2 * math.pi * 16


def test_llama3_divides_slow_pairs_and_blends_in_between():
    scaling = RopeScaling("llama3", 4.0, TRAINED, low_freq_factor=2.0, high_freq_factor=10.0)  # type: ignore[arg-type]
    found, factor = rope_frequencies(8, THETA, scaling)
    kept = np.array([1, 6 / 8, 2 / 8, 0])  # of each frequency, linear in the turns from 2 to 10
    np.testing.assert_allclose(found, (kept + (1 - kept) / 4) * 2.0 ** -np.arange(4))
    assert factor == 1


@pytest.mark.parametrize("truncate, kept", [(True, [1, 1, 1 / 2, 0]), (False, [1, 1, 0.5 / 1.5, 0])])
def test_yarn_blends_by_pairs(truncate, kept):
    """From pair 1 to pair 2.5, which turn 8 and 2^1.5 times; truncated to pair 3."""
    limits = {"beta_fast": 7.999, "beta_slow": 2**1.5} if truncate else {"beta_fast": 8, "beta_slow": 2**1.5}
    scaling = RopeScaling("yarn", 4.0, TRAINED, truncate=truncate, **limits)  # type: ignore[arg-type]
    found, factor = rope_frequencies(8, THETA, scaling)
    kept = np.array(kept)
    np.testing.assert_allclose(found, (kept + (1 - kept) / 4) * 2.0 ** -np.arange(4))
    assert factor == pytest.approx(0.1 * math.log(4) + 1)
    cos, sin = rope_tables(jnp.arange(5), 8, THETA, scaling)
    np.testing.assert_allclose(cos**2 + sin**2, factor**2, rtol=1e-5)


@given(
    st.sampled_from(["linear", "llama3", "yarn"]),
    st.floats(1, 100),
    st.integers(1, 10**6),
    st.sampled_from([2, 6, 64, 128]),
    st.floats(10, 1e6),
)
def test_stretched_frequencies_fall_and_lie_between_theirs_and_the_divided_ones(
    kind, factor, trained, d_head, theta
):
    plain, _ = rope_frequencies(d_head, theta, None)
    found, _ = rope_frequencies(d_head, theta, RopeScaling(kind, factor, trained))
    assert (found <= plain * (1 + 1e-9)).all() and (found >= plain / factor * (1 - 1e-9)).all()
    assert (np.diff(found) < 0).all()


@pytest.mark.parametrize("d_model", [6, 5])
def test_sinusoids_by_hand(d_model):
    """Frequencies 1, 1/100 and 1/10,000: sines, then cosines, the last of which an odd width lacks."""
    found = sinusoids(jnp.array([0, 3]), d_model)
    angles = np.array([3, 0.03, 0.0003])
    whole = np.array([[0, 0, 0, 1, 1, 1], [*np.sin(angles), *np.cos(angles)]])
    np.testing.assert_allclose(found, whole[:, :d_model], atol=1e-6)
