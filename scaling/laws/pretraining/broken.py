"""The smoothly broken power law of any one column."""

from collections.abc import Mapping
from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


@cache
def broken(column: str = "flops", target: str = "loss") -> Law:
    """One power law that turns into another around column = d; `broken:n_params` reads n_params.

    For what falls along one line of runs (a frontier, a ladder of sizes). f is the width of the turn in
    natural logarithms of the column. For what falls and then rises: u_shaped.
    """

    def value(theta: Array, x: Columns) -> Array:
        E, b, c0, c1, d, f = theta
        log_x = jnp.log(x[column])
        turned = f * jnp.logaddexp(0.0, (log_x - jnp.log(d)) / f)
        return E + b * jnp.exp(-c0 * log_x - c1 * turned)

    def unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
        E, b, c0, c1, d, f = np.moveaxis(theta, -1, 0)
        unit, y = units[column], units[target]
        return np.stack([y * E, y * b * unit**c0, c0, c1, unit * d, f], axis=-1)

    words = ",".join([column] if target == "loss" else [column, target])
    return Law(
        name="broken" if words == "flops" else f"broken:{words}",
        params=("E", "b", "c0", "c1", "d", "f"),
        columns=(column,),
        value=value,
        unscale=unscale,
        bounds=((0.0, 1.0), (0.0, 50.0), (0.0, 4.0), (-4.0, 4.0), (1e-4, 1e4), (0.02, 5.0)),
        starts=tuple((0.4, 0.6, 0.2, c1, d, 0.5) for c1 in (-0.1, 0.3) for d in (0.1, 1.0, 10.0)),
        prior=((0.65, 0.15), FREE, (0.3, 0.2), (0.0, 0.3), FREE, (0.5, 0.5)),
        formula="E + b x^-c0 (1 + (x/d)^(1/f))^(-c1 f), x = " + column,
        source="Caballero et al. 2022 (arXiv 2210.14891), eq. 1 with one break",
        use="a power law that turns into another along one line of runs; broken:COLUMN for another column",
        target=target,
    )
