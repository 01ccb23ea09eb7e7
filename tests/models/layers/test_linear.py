"""Layers against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.linear import matmul
from models.layers.norms import RMSNorm
from models.parameters import functional, keys, weight


@pytest.mark.parametrize("n_outputs", [4, 9])  # fewer than inputs, and more
def test_matmul_gradient_is_that_of_the_product(n_outputs):
    x = jax.random.normal(jax.random.key(0), (3, 5, 7))
    w = jax.random.normal(jax.random.key(1), (7, n_outputs))

    def loss(product):
        return lambda x, w: (jnp.sin(product(x, w)) ** 2).sum()

    ours = jax.grad(loss(matmul), (0, 1))(x, w)
    plain = jax.grad(loss(jnp.matmul), (0, 1))(x, w)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, plain)


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
