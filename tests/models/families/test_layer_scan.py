"""Layers of several kinds: each runs once, in order, with its own parameters, in the shortest scan."""

import jax.numpy as jnp
import numpy as np
import pytest

from models.configs.transformer import BLOCKS, DENSE, LayerKind
from models.families.layer_scan import cycle_of, out_of, rows_in_stacks, scan_layers

A, B, D = LayerKind(BLOCKS, 0), LayerKind(BLOCKS, 4), LayerKind(DENSE, 0)
ORDERS = {
    "alike": ([A] * 5, (0, 1)),
    "one": ([A], (0, 1)),
    "windows, cut short": ([B, A, B, A, B], (0, 2)),
    "dense first": ([D, D, A, A, A], (2, 1)),
    "dense first, windows": ([D, B, A, B, A, B], (1, 2)),
    "every second one dense": ([D, A, D, A, D, A, D], (0, 2)),
    "nothing repeats": ([A, D, D, B], (0, 4)),
}


@pytest.mark.parametrize("order", ORDERS)
def test_layers_run_in_order_each_with_its_own_parameters(order):
    kinds, cycle = tuple(ORDERS[order][0]), ORDERS[order][1]
    assert cycle_of(kinds) == cycle
    rows, numbers = rows_in_stacks(kinds), np.random.default_rng(0).normal(size=(len(kinds), 2))
    params = {
        stack: {"w": jnp.array([w for w, kind in zip(numbers, kinds) if kind.stack == stack])}
        for stack in (BLOCKS, DENSE)
    }
    for kind, row, w in zip(kinds, rows, numbers):
        np.testing.assert_array_equal(params[kind.stack]["w"][row], w.astype(np.float32))

    def block(kind, x, layer):
        a, b = layer["w"]
        return a * x + b + kind.window, {"read": x}

    x, outs = scan_layers(block, jnp.float32(1), params, kinds)
    expected = 1.0
    for i, (kind, (a, b)) in enumerate(zip(kinds, numbers)):
        np.testing.assert_allclose(out_of(outs, kinds, i)["read"], expected, rtol=1e-5, atol=1e-6)
        expected = a * expected + b + kind.window
    np.testing.assert_allclose(x, expected, rtol=1e-5)
