"""A law at given parameters: its values and their slopes, in float64.

Errors of a law are taken on its scale: of the target's logarithm, or of the target itself (`Law.scale`).
"""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from scaling.laws.law import Columns, Law

BLOCK = 64  # rows: tables are padded to a multiple of it, so that few lengths are compiled
ROOT_HALF = int(np.sqrt(0.5).view(np.int64))
ARTANH = 1 / np.arange(21, 0, -2)  # of the powers of z^2 in artanh(z) / z, from the highest


def values(law: Law, theta: np.ndarray, x: Mapping[str, np.ndarray]) -> np.ndarray:
    """The law's values [thetas, rows] for parameters [thetas, params] at columns [rows]."""
    with jax.enable_x64(True):
        found = np.asarray(_values(law, np.asarray(theta, np.float64), _padded(law, x)))
    return found[:, : len(x[law.columns[0]])]


def scaled_values(law: Law, theta: np.ndarray, x: Mapping[str, np.ndarray]) -> np.ndarray:
    """`values` on the scale that errors are taken on."""
    return np.log(values(law, theta, x)) if law.scale == "log" else values(law, theta, x)


def linearised(law: Law, theta: np.ndarray, x: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(`scaled_values` at theta [params]: [rows]; their slopes by the parameters: [rows, params])."""
    rows = len(x[law.columns[0]])
    with jax.enable_x64(True):
        value, slopes = _linearise(law, _padded(law, x), np.asarray(theta, np.float64))
        return np.asarray(value)[:rows], np.asarray(slopes).T[:rows]


def float_columns(law: Law, x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns that the law reads, as float64."""
    return {name: np.asarray(x[name], np.float64) for name in law.columns}


def _padded(law: Law, x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns with their last row repeated up to a multiple of BLOCK."""
    return {
        name: np.pad(column, [(0, -len(column) % BLOCK), *[(0, 0)] * (column.ndim - 1)], mode="edge")
        for name, column in float_columns(law, x).items()
    }


@partial(jax.jit, static_argnames="law")
def _values(law: Law, theta, x: Columns):
    return jax.vmap(lambda t: law.value(t, x))(theta)


def linearise(law: Law, x: Columns, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As `linearised`, for use inside a compiled function: ([rows], [params, rows])."""
    value, push = jax.linearize(lambda t: law.value(t, x), theta)
    slopes = jax.vmap(push)(jnp.eye(len(theta)))
    return (vectorised_log(value), slopes / value) if law.scale == "log" else (value, slopes)


_linearise = jax.jit(linearise, static_argnames="law")


def vectorised_log(value: jax.Array) -> jax.Array:
    """The logarithm of positive float64 numbers, to the last digits; NaN of others.

    XLA on CPU takes logarithms in float64 one by one, which was a third of a solver's step; these are
    vectorised. The division stands last so that XLA computes the result once: what ends cheaply is repeated
    where it is used.
    """
    bits = jax.lax.bitcast_convert_type(value, jnp.int64)
    exponent = (bits - ROOT_HALF) >> 52  # value = 2^exponent m, and m between the roots of 1/2 and 2
    m = jax.lax.bitcast_convert_type(bits - (exponent << 52), jnp.float64)
    m = jnp.where((value > 0) & (value < jnp.inf), m, jnp.nan)
    series = jnp.polyval(ARTANH, ((m - 1) / (m + 1)) ** 2)  # log m = 2 artanh((m - 1) / (m + 1))
    return (exponent * np.log(2) * (m + 1) + 2 * (m - 1) * series) / (m + 1)
