"""The U: what falls, turns, and rises again along one column."""

from collections.abc import Mapping
from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


@cache
def u_shaped(column: str = "flops", target: str = "loss") -> Law:
    """Two power laws that meet at `turn`, the lowest point; `u_shaped:n_params,accuracy` is of these columns.

    A loss that rises past the turn scales inversely; an accuracy that falls and then rises is U-shaped. A fit
    whose turn ends on its bound, or beyond the data, has seen no turn.
    """

    def value(theta: Array, x: Columns) -> Array:
        lowest, turn, p, q = theta
        off = jnp.log(x[column]) - jnp.log(turn)
        return lowest * (q * jnp.exp(-p * off) + p * jnp.exp(q * off)) / (p + q)

    def unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
        lowest, turn, p, q = np.moveaxis(theta, -1, 0)
        return np.stack([units[target] * lowest, units[column] * turn, p, q], axis=-1)

    words = ",".join([column] if target == "loss" else [column, target])
    return Law(
        name="u_shaped" if words == "flops" else f"u_shaped:{words}",
        params=("lowest", "turn", "p", "q"),
        columns=(column,),
        value=value,
        unscale=unscale,
        bounds=((0.0, 2.0), (1e-4, 1e4), (1e-3, 4.0), (1e-3, 4.0)),
        starts=tuple((1.0, turn, p, p) for turn in (0.1, 1.0, 10.0) for p in (0.05, 0.3)),
        prior=(FREE, FREE, (0.2, 0.2), (0.2, 0.2)),
        formula="lowest (q u^-p + p u^q) / (p + q), u = x / turn, x = " + column,
        source="our form; for inverse scaling (McKenzie et al. 2023, arXiv 2306.09479) and U-shapes "
        "(Wei et al. 2022, arXiv 2211.02011)",
        use="what falls and rises again along one line of runs; u_shaped:COLUMN,TARGET for others",
        target=target,
    )
