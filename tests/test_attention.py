"""Attention by hand: softmax(QKᵀ/√K)V with shared key/value heads."""

import jax
import jax.numpy as jnp
import numpy as np

from models.attention import Attention, softmax_attention
from models.config import TransformerConfig
from models.layers import functional

CONFIG = TransformerConfig(vocab_size=5, d_model=12, n_layers=1, n_heads=4, n_kv_heads=2, d_head=4, d_ff=8)


def test_attend_equals_the_formula_head_by_head():
    init, bind, _ = functional(lambda keys: Attention(CONFIG, keys))
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
    init, bind, _ = functional(lambda keys: Attention(CONFIG, keys))
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
