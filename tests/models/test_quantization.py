"""Weights of few bits: what they are rounded to, and where gradients go."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

import models
from models.parameters import parse_axes
from models.quantization import fake_quantised, quantised
from tests.models.families.networks import VARIANTS, drawn

MATRIX = parse_axes("experts: embed -> mlp")


def test_three_bits_are_seven_levels_of_each_output_of_each_copy():
    w = jnp.array([[[3.0, 0.1], [-1.4, 0.02], [0.4, -0.3]]])  # [copies, inputs, outputs]
    expected = [[[3.0, 0.1], [-1.0, 0.0], [0.0, -0.3]]]  # steps of 3 / 3 and 0.3 / 3
    np.testing.assert_allclose(fake_quantised(MATRIX, w, 3), expected, atol=1e-7)
    np.testing.assert_array_equal(fake_quantised(MATRIX, w, 32), w)
    np.testing.assert_array_equal(fake_quantised(parse_axes("-> embed"), w[0, :, 0], 3), w[0, :, 0])
    np.testing.assert_array_equal(fake_quantised(MATRIX, jnp.zeros((1, 2, 2)), 3), 0)


def test_a_network_reads_rounded_matrices_and_its_gradient_is_that_of_the_rounded_network():
    config = VARIANTS["transformer"]["mistral"]
    model, exact = models.build(config), models.build(replace(config, weight_bits=32))
    params = drawn(model)
    rounded = params | {"blocks": quantised(model.axes["blocks"], params["blocks"], config.weight_bits)}
    tokens = jnp.arange(10).reshape(2, 5)

    def loss_and_gradient(model, params):
        return jax.jit(jax.value_and_grad(lambda p: (model.apply(p, tokens) ** 2).mean()))(params)

    found, expected = loss_and_gradient(model, params), loss_and_gradient(exact, rounded)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)
    assert abs(found[0] - loss_and_gradient(exact, params)[0]) > 1e-4
