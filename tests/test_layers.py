"""Layers against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np

from models.layers import RMSNorm, functional, keys, matmul, weight
from models.positions import rope, rope_tables


def test_matmul_gradient_is_that_of_the_product():
    x = jax.random.normal(jax.random.key(0), (3, 5, 7))
    w = jax.random.normal(jax.random.key(1), (7, 4))

    def loss(product):
        return lambda x, w: (jnp.sin(product(x, w)) ** 2).sum()

    ours = jax.grad(loss(matmul), (0, 1))(x, w)
    plain = jax.grad(loss(jnp.matmul), (0, 1))(x, w)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, plain)


def test_rope_makes_scores_depend_on_distance_only():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))

    def score(i, j):
        turned = [rope(x, *rope_tables(jnp.array([[p]]), 8, 10_000.0)) for x, p in ((q, i), (k, j))]
        return float((turned[0] * turned[1]).sum())

    assert np.isclose(score(3, 1), score(10, 8), atol=1e-5)
    assert not np.isclose(score(3, 1), score(3, 2), atol=1e-3)
    np.testing.assert_allclose(rope(q, *rope_tables(jnp.array([[0]]), 8, 10_000.0)), q)


def test_rms_norm_by_hand():
    init, bind, _ = functional(lambda keys: RMSNorm((2,), 0.0))
    params = init(jax.random.key(0))
    assert params["scale"].tolist() == [1, 1]
    out = bind({"scale": jnp.array([1.0, 2.0])})(jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(out, np.array([3, 8]) / np.sqrt(12.5), rtol=1e-6)


def test_weights_have_the_stated_spread_and_no_far_values():
    values = weight(keys(jax.random.key(0)), (200, 200), 0.5, "embed -> mlp")[...]
    assert np.isclose(values.std(), 0.5, rtol=0.02)
    assert np.abs(values).max() < 0.5 * 2.3
