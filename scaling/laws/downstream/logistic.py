"""A share that grows from 0 to 1 with the logarithm of any one column, such as the size of a model."""

from collections.abc import Mapping
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


@cache
def logistic(column: str = "n_params", target: str = "accuracy") -> Law:
    """A sigmoid of the column's logarithm between 0 and 1; `logistic:n_params,valid` reads n_params and gives
    valid. `half` is where the share is a half."""

    def value(theta: Array, x: Columns) -> Array:
        half, k = theta
        return jax.nn.sigmoid(k * (jnp.log(x[column]) - jnp.log(half)))

    def unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
        half, k = np.moveaxis(theta, -1, 0)
        return np.stack([half * units[column], k], axis=-1)

    words = ",".join([column] if target == "accuracy" else [column, target])
    return Law(
        name="logistic" if words == "n_params" else f"logistic:{words}",
        params=("half", "k"),
        columns=(column,),
        value=value,
        unscale=unscale,
        bounds=((1e-6, 1e6), (-20.0, 20.0)),
        starts=tuple((half, k) for half in (0.1, 1.0, 10.0) for k in (0.5, 2.0)),
        prior=(FREE, (1.0, 2.0)),
        formula="1 / (1 + (half / x)^k), x = " + column,
        source="Owen 2024 (arXiv 2401.04757), section 2.2: a sigmoid of the logarithm of scale; here "
        "from 0 to 1, without a chance level and ceiling of its own",
        use="the share that is right or valid along one line of runs; logistic:COLUMN,TARGET for others",
        target=target,
        scale="linear",
    )
