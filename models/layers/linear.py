"""Linear maps: products with weights of any number of dimensions, and tables that are looked up."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.layers.int8 import Int8Matrix
from models.parameters import Axes
from models.sharding import constrain, gathered, platform


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Packed:
    """A weight [inputs, outputs] of the given shape as `project` reads it fastest for a few rows on a CPU."""

    matrix_OI: jax.Array
    shape: tuple[int, ...] = field(metadata={"static": True})

    def product(self, x_NI: jax.Array) -> jax.Array:
        """x times the weight, [N,O].

        Several rows as (w xᵀ)ᵀ, in a fifth less time; without barriers XLA turns it back. One row takes half
        the time as it stands.
        """
        if len(x_NI) == 1:
            return x_NI @ self.matrix_OI.astype(x_NI.dtype).T
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
        return gathered(w, names, x.dtype).reshape(n_in, -1)

    if isinstance(value := w.get_value(), Packed | Int8Matrix):
        y = value.product(x.reshape(-1, n_in))
    else:
        y = matmul(x.reshape(*rows, n_in), value, as_matrix)
    y = y.reshape(*rows, *shape[n_inputs:])  # type: ignore[attr-defined]  # custom_vjp hides the type
    return y if bias is None else y + bias[...].astype(x.dtype)


def whole(w: nnx.Param, dtype: Any) -> jax.Array:
    """A weight [inputs, outputs] in the type given, for products that `project` does not do."""
    if isinstance(value := w.get_value(), Packed):
        return value.matrix_OI.T.reshape(value.shape).astype(dtype)
    return gathered(value, w.axes.names, dtype)


def unembed(x: jax.Array, table: nnx.Param) -> jax.Array:
    """x [..., D] times the transpose of a table [V, D], in the type of x; of 8 bits, x is [B, D]."""
    if isinstance(value := table.get_value(), Int8Matrix):
        return value.product(x)
    return matmul(x, value, lambda w: gathered(w, table.axes.names, x.dtype).T)


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
    matrix, d_matrix = jax.vjp(as_matrix, w)
    return dy @ matrix.T, *d_matrix(_over_rows(x, dy))


def _over_rows(x: jax.Array, dy: jax.Array) -> jax.Array:
    """xᵀdy [I, O], summed over all rows of [..., I] and [..., O].

    A CPU begins such a product by copying the first factor into a transposed layout: let that be the narrower
    one. Where it is dy, the result is transposed, too, which is small; the barrier keeps it as it is.
    """
    rows = tuple(range(x.ndim - 1))
    if platform() == "cpu" and x.shape[-1] > dy.shape[-1]:
        return jax.lax.optimization_barrier(jax.lax.dot_general(dy, x, ((rows, rows), ((), ())))).T
    return jax.lax.dot_general(x, dy, ((rows, rows), ((), ())))


matmul.defvjp(_matmul_forward, _matmul_backward)


def lookup(table: nnx.Param, tokens_BT: jax.Array, dtype: Any) -> jax.Array:
    """Rows [B,T,D], in the type given, of a table [V,D], which may lie on several devices."""
    if isinstance(value := table.get_value(), Int8Matrix):
        return value.rows(tokens_BT, dtype)
    tokens_BT = constrain(tokens_BT, "batch", "length")
    rows_BTD: Any = _rows(value, tokens_BT, table.axes.names, jnp.dtype(dtype))
    return constrain(rows_BTD, "batch", "length", None)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _rows(table_VD: jax.Array, tokens_BT: jax.Array, names: tuple[str, ...], dtype: Any) -> jax.Array:
    # Looked up where it lies, rows would come out spread along D; from there to rows spread along B the
    # partitioner knows no way but to copy everything everywhere.
    return gathered(table_VD, names, dtype)[tokens_BT]


def _rows_backward(names: tuple[str, ...], dtype: Any, saved, d_rows_BTD: jax.Array):
    table_VD, tokens_BT = saved
    # A token's gradients of a whole batch are summed, which a half-precision type is too coarse for. First
    # where its rows are, then across devices: the other way round XLA may copy all rows everywhere.
    d_table_VD = jnp.zeros(table_VD.shape, jnp.float32).at[tokens_BT].add(d_rows_BTD.astype(jnp.float32))
    d_table_VD = constrain(d_table_VD, *(None if name == "embed" else name for name in names))
    return constrain(d_table_VD, *names), None


_rows.defvjp(lambda w, tokens, *static: (_rows(w, tokens, *static), (w, tokens)), _rows_backward)
