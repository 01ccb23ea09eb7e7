"""Weights of 8 bits in decoding: whole numbers times whole numbers, a scale for each row and each output.

Dynamic W8A8 quantisation, symmetric (Dettmers et al. 2022, arXiv 2208.07339, without outliers kept apart). A
CPU with VNNI multiplies such numbers faster than floats and reads a quarter of the bytes. Sums are exact, so
a row's numbers are the same to the last bit in a batch of any size.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from models.parameters import Axes

LARGEST = 127


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Int8Matrix:
    """A weight [inputs, outputs] of the given shape: matrix_OI, int8, times scale_O, float32."""

    matrix_OI: jax.Array
    scale_O: jax.Array
    shape: tuple[int, ...] = field(metadata={"static": True})

    def product(self, x_NI: jax.Array) -> jax.Array:
        """x, rounded to 8 bits by rows, times the weight: [N,O] in the type of x."""
        # For a single row XLA leaves the fast kernels: it takes twenty times as long as two rows.
        some_NI = jnp.pad(x_NI, ((0, 1), (0, 0))) if len(x_NI) == 1 else x_NI
        rounded_NI, scale_N1 = _rounded(some_NI.astype(jnp.float32))
        contract = (((1,), (1,)), ((), ()))
        sums_NO = jax.lax.dot_general(rounded_NI, self.matrix_OI, contract, preferred_element_type=jnp.int32)
        return (sums_NO * scale_N1 * self.scale_O)[: len(x_NI)].astype(x_NI.dtype)

    def rows(self, numbers: jax.Array, dtype: Any) -> jax.Array:
        """Those outputs' weights [...,I], as a table is looked up."""
        return (self.matrix_OI[numbers] * self.scale_O[numbers][..., None]).astype(dtype)


def int8_matrix(axes: Axes, w: jax.Array) -> jax.Array | Int8Matrix:
    """A matrix in 8 bits, of one scale an output; vectors as they are."""
    if not axes.inputs:
        return w
    matrix_OI, scale_O1 = _rounded(w.reshape(math.prod(w.shape[: len(axes.inputs)]), -1).T)
    return Int8Matrix(matrix_OI, scale_O1[:, 0], w.shape)


def int8_table(table_VD: jax.Array) -> Int8Matrix:
    """A table that is looked up by `rows`, and transposed is the weight of a head."""
    matrix_VD, scale_V1 = _rounded(table_VD)
    return Int8Matrix(matrix_VD, scale_V1[:, 0], table_VD.shape[::-1])


def _rounded(x_NI: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x as int8 and the scale of each row [N,1]."""
    scale_N1 = jnp.maximum(jnp.abs(x_NI).max(axis=1, keepdims=True), 1e-30) / LARGEST
    return jnp.round(x_NI / scale_N1).astype(jnp.int8), scale_N1
