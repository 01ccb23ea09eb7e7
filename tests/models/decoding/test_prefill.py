"""The first pass: texts of any lengths side by side, and the few shapes that they are rounded to."""

from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import models
from models import ladder
from models.decoding.prefill import (
    bucket,
    n_shared,
    packed,
    padded,
    prefill,
    prefill_shared,
    slots,
    take_rows,
)
from models.model import Model
from tests.tiers import slow_but


@given(st.integers(1, 10**6), st.sampled_from([1, 4, 16]))
def test_a_bucket_is_the_next_power_of_two(size, least):
    found = bucket(size, least)
    assert found & (found - 1) == 0 and found >= max(size, least)
    assert found == least or found < 2 * size


@given(st.integers(1, 10**6))
def test_slots_are_a_few_more_than_needed(size):
    found = slots(size)
    assert size <= found < size + max(64, size / 4)
    assert slots(found) == found


def test_a_doubling_of_the_length_has_four_sizes_of_cache():
    assert sorted({slots(size) for size in range(257, 513)}) == [320, 384, 448, 512]
    assert sorted({slots(size) for size in range(1, 257)}) == [64, 128, 192, 256]


def test_padding_by_hand():
    tokens_PT, lengths_P = padded([[7, 8, 9], [5], [6, 6]], 4)
    assert tokens_PT.tolist() == [[7, 8, 9, 0], [5, 0, 0, 0], [6, 6, 0, 0], [0, 0, 0, 0]]
    assert lengths_P.tolist() == [3, 1, 2, 1]


def network(family: str, **changes: Any) -> tuple[Model, Any]:
    """A model and parameters drawn by numpy: nothing to compile."""
    model, rng = models.build(ladder(16, 31, family, **changes)), np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return model, jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)


def test_an_encoder_reads_a_text_but_its_last_token_which_starts_the_decoder():
    """Each as if it were alone, however long the others are; the text that is one token is both."""
    model, params = network("encdec", n_layers=1, n_decoder_layers=1)
    logits_PV, cache = prefill(model, params, [[5], [7, 8, 9], list(range(3, 21))], room=3)
    after_PV, _ = jax.jit(model.decode)(params, jnp.array([2, 4, 6, 0]), cache)
    assert len(logits_PV) == 4  # and a row of nothing
    apply = jax.jit(model.apply, compiler_options={"xla_backend_optimization_level": 0})
    for row, (source, start, more) in enumerate([([5], 5, 2), ([7, 8], 9, 4), (list(range(3, 20)), 20, 6)]):
        expected_TV = apply(params, jnp.array([[start, more]]), source_BS=jnp.array([source]))[0]
        np.testing.assert_allclose([logits_PV[row], after_PV[row]], expected_TV, atol=1e-4)


def test_a_cache_has_room_for_what_follows_the_longest_text():
    model, params = network("transformer")
    _, cache = jax.eval_shape(lambda params: prefill(model, params, [[5] * 16, [6]], room=3), params)
    assert sum(part.shape[3] for part in cache["k"][0]) == slots(19) == 64  # [1,B,G,slots,K]
    assert cache["lengths"].shape == (2,)


def test_rows_are_taken_by_number_and_may_repeat():
    cache = {"k": [jnp.arange(12).reshape(2, 3, 2)], "lengths": jnp.array([4, 5, 6])}
    found = take_rows(cache, np.array([2, 0, 2]))
    assert found["lengths"].tolist() == [6, 4, 6]
    assert found["k"][0].tolist() == [[[4, 5], [0, 1], [4, 5]], [[10, 11], [6, 7], [10, 11]]]


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9), min_size=1, max_size=4))
def test_texts_share_their_first_tokens_if_these_are_most(texts):
    n = n_shared(texts)
    assert all(text[:n] == texts[0][:n] and len(text) > n for text in texts)
    assert n == 0 or n >= max(len(text) - n for text in texts)


def test_shared_tokens_by_hand():
    assert n_shared([[1, 2, 3, 4], [1, 2, 3, 5, 6]]) == 3
    assert n_shared([[1, 2, 3], [1, 2, 3], [1, 2, 3]]) == 2  # of each text one is left
    assert n_shared([[1, 2, 3], [1, 2, 4, 5, 6]]) == 0  # more would follow
    assert n_shared([[1, 2], [3, 2]]) == n_shared([[1], [1, 1]]) == 0


NETWORKS = {name: (name, {}) for name in models.FAMILIES if name not in ("encdec", "rnn")}
NETWORKS |= {"windows": ("transformer", {"windows": (6, 0)})}


@pytest.mark.parametrize("name", slow_but(["windows"], NETWORKS))
def test_a_beginning_that_is_read_once_gives_the_numbers_of_whole_prompts(name):
    family, changes = NETWORKS[name]
    model, params = network(family, **changes)
    texts = [[*range(3, 23), *rest] for rest in ([7], [9, 8, 7, 6], [8, 8])]
    shared_PV, shared = prefill_shared(model, params, texts, n_shared(texts), 64)
    whole_PV, whole = prefill(model, params, texts, room=4)
    np.testing.assert_allclose(shared_PV[:3], whole_PV[:3], atol=1e-4)
    step, token_P = jax.jit(model.decode), jnp.array([4, 5, 6, 0])
    after_PV, expected_PV = (step(params, token_P, cache)[0] for cache in (shared, whole))
    np.testing.assert_allclose(after_PV[:3], expected_PV[:3], atol=1e-4)


def test_weights_are_packed_once_where_that_is_faster():
    for family in ("transformer", "rnn"):
        model, params = network(family)
        found = packed(model, params)
        assert ("packed" in found) == (family == "transformer" and jax.default_backend() == "cpu")
        assert packed(model, found) is found
        assert all(found[name] is params[name] for name in params)
