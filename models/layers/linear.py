"""Small layers, and the only place where flax modules become plain pytrees.

Shape letters in models/: B batch, T time, D model width, F feed-forward width, H query heads,
G key/value heads, K head size, V vocabulary, L layers, S cache slots or source tokens, E experts, C capacity.
"""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.sharding import gathered

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


def functional(make: Callable[..., nnx.Module]) -> tuple[Callable, Callable, Params]:
    """Splits a module constructor into `init(key) -> params`, `bind(params) -> module` and the axes.

    The constructor takes one random key a weight from an iterator; what else `init` is given goes on to it
    (a layer's place in the stack, where initial values depend on that). Params are a nested dict of float32
    arrays, the axes a like dict of `Axes`; no flax type leaves this function.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: make(keys(jax.random.key(0)))))
    axes = jax.tree.map(lambda v: v.axes, state, is_leaf=lambda node: isinstance(node, nnx.Variable))

    def init(key: jax.Array, *which: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.state(make(keys(key), *which), nnx.Param))

    def bind(params: Params):
        return nnx.merge(graph, params)

    return init, bind, nnx.to_pure_dict(axes)


def stacked(init: Callable, axes: Params, n_layers: int, *per_layer: Any) -> tuple[Callable, Params]:
    """`init` and `axes` of `n_layers` copies along a new first axis.

    `per_layer` are arrays [L] of which each copy's `init` gets its own number.
    """

    def init_all(key: jax.Array) -> Params:
        return jax.vmap(init)(jax.random.split(key, n_layers), *per_layer)

    return init_all, jax.tree.map(lambda a: Axes(("layers", *a.copies), a.inputs, a.outputs), axes)


def weight(keys: Keys, shape: tuple[int, ...], std: float, axes: str) -> nnx.Param:
    """Float32 weight from a normal distribution truncated at two standard deviations."""
    # Truncation shrinks the spread; dividing by its standard deviation restores `std`.
    draw = jax.random.truncated_normal(next(keys), -2.0, 2.0, shape, jnp.float32)
    return nnx.Param(draw * (std / 0.87962566), axes=parse_axes(axes))


def constant(value: float | jax.Array, shape: tuple[int, ...], axes: str) -> nnx.Param:
    """Float32 parameter that starts at a given value."""
    return nnx.Param(jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape), axes=parse_axes(axes))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Packed:
    """A weight [inputs, outputs] of the given shape as `project` reads it fastest for a few rows on a CPU."""

    matrix_OI: jax.Array
    shape: tuple[int, ...] = field(metadata={"static": True})

    def product(self, x_NI: jax.Array) -> jax.Array:
        """x times the weight, [N,O], as (w xᵀ)ᵀ in a fifth less time; without barriers XLA turns it back."""
        x_IN = jax.lax.optimization_barrier(x_NI.T)
        return jax.lax.optimization_barrier(self.matrix_OI.astype(x_NI.dtype) @ x_IN).T


def packed(axes: Axes, w: jax.Array) -> jax.Array | Packed:
    """A matrix as `Packed`; vectors, and weights in copies, as they are."""
    if axes.copies or not axes.inputs:
        return w
    return Packed(w.reshape(math.prod(w.shape[: len(axes.inputs)]), -1).T, w.shape)


def project(x: jax.Array, w: nnx.Param, bias: nnx.Param | None = None) -> jax.Array:
    """x [..., inputs] times w [inputs, outputs], each one or more dimensions, in the type of x."""
    shape, n_inputs, names = w.shape, len(w.axes.inputs), w.axes.names
    n_in = math.prod(shape[:n_inputs])
    rows = x.shape[: x.ndim - n_inputs]

    def as_matrix(w: jax.Array) -> jax.Array:
        return gathered(w, names).reshape(n_in, -1).astype(x.dtype)

    if isinstance(value := w.get_value(), Packed):
        y = value.product(x.reshape(-1, n_in))
    else:
        y = matmul(x.reshape(*rows, n_in), value, as_matrix)
    y = y.reshape(*rows, *shape[n_inputs:])  # type: ignore[attr-defined]  # custom_vjp hides the type
    return y if bias is None else y + bias[...].astype(x.dtype)


def unembed(x: jax.Array, table: nnx.Param) -> jax.Array:
    """x [..., D] times the transpose of a table [V, D], in the type of x."""
    return matmul(x, table[...], lambda w: gathered(w, table.axes.names).T.astype(x.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(x: jax.Array, w: jax.Array, as_matrix: Callable = lambda w: w) -> jax.Array:
    """x [..., I] times as_matrix(w) [I, O].

    The gradient is written out for two reasons. Automatic differentiation forms dw as (dyᵀx)ᵀ, for which
    XLA's CPU compiler copies both activations into transposed layouts: xᵀdy takes half the time of a whole
    layer. And it keeps each layer's matrix for the backward pass: a copy of the model in the compute type,
    which on a mesh is whole on every device. Here the matrix is made again from `w`.
    """
    return x @ as_matrix(w)


def _matmul_forward(x: jax.Array, w: jax.Array, as_matrix: Callable):
    return x @ as_matrix(w), (x, w)


def _matmul_backward(as_matrix: Callable, saved, dy: jax.Array):
    x, w = saved
    rows = tuple(range(x.ndim - 1))
    matrix, d_matrix = jax.vjp(as_matrix, w)
    return dy @ matrix.T, *d_matrix(jax.lax.dot_general(x, dy, ((rows, rows), ((), ()))))


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


def last(x_BT: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """What stands at each row's last real token: [B,T,…] -> [B,…]."""
    return x_BT[jnp.arange(len(x_BT)), lengths_B - 1]


def softcap(x: jax.Array, cap: float) -> jax.Array:
    """cap · tanh(x / cap); as it is where `cap` is 0 (Gemma 2)."""
    return cap * jnp.tanh(x / cap) if cap else x
