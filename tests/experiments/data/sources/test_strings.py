"""Random strings: copied or reversed exactly, padded on the right, each symbol as often as another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.sources.strings import START, draw_pairs

compiled = jax.jit(draw_pairs, static_argnums=(1, 3, 4))


@pytest.mark.parametrize("task", ["reverse", "copy"])
def test_strings_are_copied_or_reversed_exactly(task):
    lengths = [1, 4, 6, 2]
    pairs = draw_pairs(jax.random.key(0), task, jnp.array(lengths), 6, 5)
    for b, n in enumerate(lengths):
        source = pairs.source_BS[b, :n].tolist()
        assert pairs.target_BS[b, :n].tolist() == (source[::-1] if task == "reverse" else source)
        assert pairs.inputs_BS[b, :n].tolist() == [START, *pairs.target_BS[b, : n - 1].tolist()]
        assert pairs.mask_BS[b].tolist() == [True] * n + [False] * (6 - n)
        assert (pairs.source_BS[b, n:] == START).all() and (pairs.target_BS[b, n:] == START).all()
        assert all(1 <= symbol <= 5 for symbol in source)
    many = draw_pairs(jax.random.key(1), task, jnp.full(500, 6), 6, 5)
    counts = np.bincount(np.asarray(many.source_BS).ravel(), minlength=6)
    np.testing.assert_allclose(counts, [0, 600, 600, 600, 600, 600], atol=100)  # four standard deviations


@settings(max_examples=20)
@given(st.lists(st.integers(0, 7), min_size=3, max_size=3), st.integers(0, 2**31))
def test_a_key_draws_one_string_whatever_the_task_and_the_length(lengths, seed):
    """An empty string is one, too; the shorter string is the beginning of the longer one."""
    key, lengths_B = jax.random.key(seed), jnp.array(lengths)
    drawn = [("copy", lengths_B), ("reverse", lengths_B), ("copy", jnp.full(3, 7))]
    copied, reversed_, longest = (jax.device_get(compiled(key, *how, 7, 9)) for how in drawn)
    for b, n in enumerate(lengths):
        np.testing.assert_array_equal(copied.source_BS[b, :n], longest.source_BS[b, :n])
        np.testing.assert_array_equal(reversed_.source_BS[b], copied.source_BS[b])
        np.testing.assert_array_equal(reversed_.target_BS[b, :n][::-1], copied.target_BS[b, :n])
        assert reversed_.mask_BS[b].sum() == n and not reversed_.target_BS[b, n:].any()
