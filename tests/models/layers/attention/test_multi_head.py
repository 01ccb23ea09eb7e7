"""Attention by hand: softmax(QKᵀ/√K)V with shared key/value heads."""

import jax
import jax.numpy as jnp
import numpy as np

from models import TransformerConfig
from models.families.transformer import attention
from models.layers.attention import (
    attend,
    attend_to_parts,
    in_parts,
    softmax_attention,
    write_slot,
)
from models.parameters import functional

CONFIG = TransformerConfig(vocab_size=5, d_model=12, n_layers=1, n_heads=4, n_kv_heads=2, d_head=4, d_ff=8)


def test_attend_equals_the_formula_head_by_head():
    init, bind, _ = functional(lambda keys: attention(CONFIG, keys))
    params = init(jax.random.key(0))
    q = jax.random.normal(jax.random.key(1), (2, 3, 4, 4))
    k, v = jax.random.normal(jax.random.key(2), (2, 2, 5, 2, 4))
    mask = jax.random.bernoulli(jax.random.key(3), 0.6, (2, 3, 5)).at[:, :, 0].set(True)
    out = np.zeros((2, 3, 12))
    for b, t, h in np.ndindex(2, 3, 4):
        scores = np.array(k[b, :, h // 2] @ q[b, t, h]) / 2  # √K = 2; heads 0, 1 share key head 0
        weights = np.where(mask[b, t], np.exp(scores), 0)
        out[b, t] += weights / weights.sum() @ np.array(v[b, :, h // 2]) @ np.array(params["w_o"][h])
    np.testing.assert_allclose(bind(params).output(q, k, v, mask), out, atol=1e-5)


def test_two_equal_keys_share_the_weight():
    init, bind, _ = functional(lambda keys: attention(CONFIG, keys))
    params = init(jax.random.key(0)) | {"w_o": jnp.eye(16)[:, :12].reshape(4, 4, 12)}
    q, k = jnp.ones((1, 1, 4, 4)), jnp.ones((1, 2, 2, 4))
    v = jnp.stack([jnp.zeros((2, 4)), jnp.ones((2, 4))])[None]
    out = bind(params).output(q, k, v, jnp.ones((1, 1, 2), bool))
    np.testing.assert_allclose(out, 0.5 * np.ones((1, 1, 12)), rtol=1e-6)


def test_written_gradient_is_the_derived_one():
    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 3, 5, 4))
    mask = jnp.tril(jnp.ones((5, 5), bool))[None, None]

    def plain(q, k, v):
        return jax.nn.softmax(jnp.where(mask, q @ k.swapaxes(2, 3), -jnp.inf), axis=-1) @ v

    def gradients(attention):
        return jax.grad(lambda *x: jnp.sin(attention(*x)).sum(), (0, 1, 2))(q, k, v)

    ours = gradients(lambda q, k, v: softmax_attention(q, k, v, mask))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, gradients(plain))


def test_parts_of_a_cache_are_read_as_one_and_only_where_rows_have_come():
    """What no row has reached is NaN here, which a product that reads it would spread."""
    q = jax.random.normal(jax.random.key(0), (3, 1, 4, 4))
    k, v = jax.random.normal(jax.random.key(1), (2, 3, 64, 2, 4))
    position_B = jnp.array([3, 40, 0])
    seen_BS = jnp.arange(64) <= position_B[:, None]
    expected = attend(q, k, v, seen_BS[:, None], 0.5, cap=2.0)
    k_parts, v_parts = (
        [part.at[:].set(jnp.nan) if i == 3 else part for i, part in enumerate(in_parts(x))] for x in (k, v)
    )
    assert len(k_parts) == 4
    out = jax.jit(attend_to_parts, static_argnums=(4, 5))(q, k_parts, v_parts, position_B, 0.5, 2.0)
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_a_row_attends_alike_whether_its_neighbours_are_ahead_or_not():
    q = jax.random.normal(jax.random.key(0), (2, 1, 4, 4))
    k_parts, v_parts = (in_parts(x) for x in jax.random.normal(jax.random.key(1), (2, 2, 64, 2, 4)))
    near, far = (
        attend_to_parts(q, k_parts, v_parts, jnp.array([2, other]), 0.5, 0.0)[0] for other in (1, 63)
    )
    np.testing.assert_array_equal(near, far)


def test_each_row_writes_its_own_slot_and_a_ring_begins_anew():
    parts = in_parts(jnp.zeros((3, 64, 2, 1)))
    parts = write_slot(parts, jnp.ones((3, 2, 1)), jnp.array([0, 37, 67]))
    written_BS = jnp.concatenate(parts, axis=2)[:, :, :, 0].sum(axis=1)
    expected_BS = np.zeros((3, 64))
    expected_BS[[0, 1, 2], [0, 37, 3]] = 2
    np.testing.assert_array_equal(written_BS, expected_BS)
