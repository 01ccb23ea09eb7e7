"""Small layers, and the only place where flax modules become plain pytrees.

Shape letters in models/: B batch, T time, D model width, F feed-forward width, H query heads,
G key/value heads, K head size, V vocabulary, L layers, S cache slots or source tokens, E experts, C capacity.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

Params = dict[str, Any]
Keys = Iterator[jax.Array]


@dataclass(frozen=True)
class Axes:
    """What the dimensions of a parameter are, in order: stacked copies, inputs, outputs.

    Written "embed -> heads head", with copies "experts: embed -> mlp"; a vector has no inputs: "-> embed".
    Sharding reads the names; optimizers, parametrisation and low-rank adapters the roles.
    """

    copies: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.copies + self.inputs + self.outputs


def parse_axes(text: str) -> Axes:
    """`Axes` from its notation."""
    copies, _, rest = text.rpartition(":")
    inputs, _, outputs = rest.partition("->")
    return Axes(tuple(copies.split()), tuple(inputs.split()), tuple(outputs.split()))


def keys(key: jax.Array) -> Keys:
    """Thirty-two keys, more than any module has weights: one split compiles faster than a fold for each."""
    return iter(jax.random.split(key, 32))


def functional(make: Callable[[Keys], nnx.Module]) -> tuple[Callable, Callable, Params]:
    """Splits a module constructor into `init(key) -> params`, `bind(params) -> module` and the axes.

    The constructor takes one random key a weight from an iterator. Params are a nested dict of float32
    arrays, the axes a like dict of `Axes`; no flax type leaves this function.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: make(keys(jax.random.key(0)))))
    axes = jax.tree.map(lambda v: v.axes, state, is_leaf=lambda node: isinstance(node, nnx.Variable))

    def init(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.state(make(keys(key)), nnx.Param))

    def bind(params: Params):
        return nnx.merge(graph, params)

    return init, bind, nnx.to_pure_dict(axes)


def stacked(init: Callable, axes: Params, n_layers: int) -> tuple[Callable, Params]:
    """`init` and `axes` of `n_layers` copies along a new first axis."""

    def init_all(key: jax.Array) -> Params:
        return jax.vmap(init)(jax.random.split(key, n_layers))

    return init_all, jax.tree.map(lambda a: Axes(("layers", *a.copies), a.inputs, a.outputs), axes)


def weight(keys: Keys, shape: tuple[int, ...], std: float, axes: str) -> nnx.Param:
    """Float32 weight from a normal distribution truncated at two standard deviations."""
    # Truncation shrinks the spread; dividing by its standard deviation restores `std`.
    draw = jax.random.truncated_normal(next(keys), -2.0, 2.0, shape, jnp.float32)
    return nnx.Param(draw * (std / 0.87962566), axes=parse_axes(axes))


def constant(value: float | jax.Array, shape: tuple[int, ...], axes: str) -> nnx.Param:
    """Float32 parameter that starts at a given value."""
    return nnx.Param(jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape), axes=parse_axes(axes))


def project(x: jax.Array, w: nnx.Param, bias: nnx.Param | None = None) -> jax.Array:
    """x [..., inputs] times w [inputs, outputs], each one or more dimensions, in the type of x."""
    shape, n_inputs = w.shape, len(w.axes.inputs)
    n_in = math.prod(shape[:n_inputs])
    rows = x.shape[: x.ndim - n_inputs]
    y = matmul(x.reshape(*rows, n_in), w[...].reshape(n_in, -1).astype(x.dtype))
    y = y.reshape(*rows, *shape[n_inputs:])
    return y if bias is None else y + bias[...].astype(x.dtype)


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


def softcap(x: jax.Array, cap: float) -> jax.Array:
    """cap · tanh(x / cap); as it is where `cap` is 0 (Gemma 2)."""
    return cap * jnp.tanh(x / cap) if cap else x
