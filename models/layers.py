"""Small layers, and the only place where flax modules become plain pytrees.

Shape letters in models/: B batch, T time, D model width, F feed-forward width, H query heads,
G key/value heads, K head size, V vocabulary, L layers, S cache slots.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

Params = dict[str, Any]


def functional(make: Callable[[nnx.Rngs], nnx.Module]) -> tuple[Callable, Callable]:
    """Splits a module constructor into `init(key) -> params` and `bind(params) -> module`.

    Params are a nested dict of float32 arrays; no flax type leaves this function.
    """
    graph, _ = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def init(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), nnx.Param))

    def bind(params: Params):
        return nnx.merge(graph, params)

    return init, bind


def weight(rngs: nnx.Rngs, shape: tuple[int, ...], std: float) -> nnx.Param:
    """Float32 weight from a normal distribution truncated at two standard deviations."""
    # Truncation shrinks the spread; dividing by its standard deviation restores `std`.
    draw = jax.random.truncated_normal(rngs.params(), -2.0, 2.0, shape, jnp.float32)
    return nnx.Param(draw * (std / 0.87962566))


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
