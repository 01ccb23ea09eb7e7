"""Norms over the model's width, or over heads: statistics in float32, the result in the type of the input."""

import jax
import jax.numpy as jnp
from flax import nnx

from models.parameters import constant


class RMSNorm(nnx.Module):
    """x · scale / rms(x) over the trailing dimensions, statistics in float32 (Zhang & Sennrich 2019)."""

    def __init__(self, shape: tuple[int, ...], eps: float, axes: str = "-> embed"):
        self.scale = constant(1.0, shape, axes)
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        x32 = x.astype(jnp.float32)
        over = tuple(range(-self.scale.ndim, 0))
        mean_square = jnp.mean(x32 * x32, axis=over, keepdims=True)
        return (x32 * jax.lax.rsqrt(mean_square + self.eps) * self.scale[...]).astype(x.dtype)


class LayerNorm(nnx.Module):
    """(x - mean) · scale / std + bias, statistics in float32 (Ba et al. 2016)."""

    def __init__(self, d_model: int, eps: float):
        self.scale = constant(1.0, (d_model,), "-> embed")
        self.bias = constant(0.0, (d_model,), "-> embed")
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        x32 = x.astype(jnp.float32)
        x32 = x32 - x32.mean(axis=-1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + self.eps)
        return (x32 * scale * self.scale[...] + self.bias[...]).astype(x.dtype)


def norm(kind: str, d_model: int, eps: float) -> RMSNorm | LayerNorm:
    """A norm of the model's width: "rms" or "layer"."""
    return RMSNorm((d_model,), eps) if kind == "rms" else LayerNorm(d_model, eps)
