"""Small layers, and the only place where flax modules become plain pytrees.

Shape letters in models/: B batch, T time, D model width, F feed-forward width, H query heads,
G key/value heads, K head size, V vocabulary, L layers, S cache slots.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

Params = dict[str, Any]
Keys = Iterator[jax.Array]


def keys(key: jax.Array) -> Keys:
    """Sixteen keys, more than any module has weights: one split compiles faster than a fold for each."""
    return iter(jax.random.split(key, 16))


def functional(make: Callable[[Keys], nnx.Module]) -> tuple[Callable, Callable]:
    """Splits a module constructor into `init(key) -> params` and `bind(params) -> module`.

    The constructor takes one random key a weight from an iterator. Params are a nested dict of float32
    arrays; no flax type leaves this function.
    """
    graph, _ = nnx.split(nnx.eval_shape(lambda: make(keys(jax.random.key(0)))))

    def init(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.state(make(keys(key)), nnx.Param))

    def bind(params: Params):
        return nnx.merge(graph, params)

    return init, bind


def weight(keys: Keys, shape: tuple[int, ...], std: float) -> nnx.Param:
    """Float32 weight from a normal distribution truncated at two standard deviations."""
    # Truncation shrinks the spread; dividing by its standard deviation restores `std`.
    draw = jax.random.truncated_normal(next(keys), -2.0, 2.0, shape, jnp.float32)
    return nnx.Param(draw * (std / 0.87962566))


@jax.custom_vjp
def matmul(x: jax.Array, w: jax.Array) -> jax.Array:
    """x [..., I] times w [I, O].

    The gradient is written out because automatic differentiation forms dw as (dyᵀx)ᵀ, for which XLA's CPU
    compiler copies both activations into transposed layouts: xᵀdy takes half the time of a whole layer.
    """
    return x @ w


def _matmul_forward(x: jax.Array, w: jax.Array):
    return x @ w, (x, w)


def _matmul_backward(saved, dy: jax.Array):
    x, w = saved
    rows = tuple(range(x.ndim - 1))
    return dy @ w.T, jax.lax.dot_general(x, dy, ((rows, rows), ((), ())))


matmul.defvjp(_matmul_forward, _matmul_backward)


class RMSNorm(nnx.Module):
    """x · scale / rms(x), statistics in float32 (Zhang & Sennrich 2019)."""

    def __init__(self, d_model: int, eps: float):
        self.scale = nnx.Param(jnp.ones(d_model, jnp.float32))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        x32 = x.astype(jnp.float32)
        mean_square = jnp.mean(x32 * x32, axis=-1, keepdims=True)
        return (x32 * jax.lax.rsqrt(mean_square + self.eps) * self.scale[...]).astype(x.dtype)


def rope_tables(positions: jax.Array, d_head: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines [..., d_head/2] of rotary positions (Su et al. 2021), float32."""
    frequencies_K = theta ** (-jnp.arange(0, d_head, 2, dtype=jnp.float32) / d_head)
    angles = positions[..., None].astype(jnp.float32) * frequencies_K
    return jnp.cos(angles), jnp.sin(angles)


def rope(x_BTHK: jax.Array, cos_BTK: jax.Array, sin_BTK: jax.Array) -> jax.Array:
    """Rotates dimension i together with i + K/2 (the half-split convention of Llama checkpoints)."""
    first, second = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
    cos, sin = cos_BTK[..., None, :], sin_BTK[..., None, :]
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_BTHK.dtype)
