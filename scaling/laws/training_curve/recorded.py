"""Laws of whole curves as runs record them: training losses on the way, a validation loss at the end.

The two are of different text, and the one is a mean over the steps since the last: they differ by a factor,
which is a parameter more.
"""

from collections.abc import Mapping
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import Columns, Law
from scaling.laws.training_curve.annealing import ANNEALING
from scaling.laws.training_curve.multi_power import MULTI_POWER


def recorded(law: Law) -> Law:
    """The law of a curve with its value times exp(train) where the column `training` is 1."""

    def value(theta: Array, x: Columns) -> Array:
        return law.value(theta[:-1], x) * jnp.exp(theta[-1] * x["training"])

    def unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
        return np.concatenate([law.unscale(theta[..., :-1], units), theta[..., -1:]], axis=-1)

    return replace(
        law,
        name=f"{law.name}_curves",
        params=(*law.params, "train"),
        columns=(*law.columns, "training"),
        value=value,
        unscale=unscale,
        bounds=(*law.bounds, (-0.5, 0.5)),
        starts=tuple((*start, 0.0) for start in law.starts),
        prior=(*law.prior, (0.0, 0.05)),
        formula=f"({law.formula}) exp(train training)",
        use=f"as {law.name}, with a column training: 1 for losses on the way, 0 for those at ends",
        dimensionless=(*law.dimensionless, "training"),
    )


ANNEALING_CURVES = recorded(ANNEALING)
MULTI_POWER_CURVES = recorded(MULTI_POWER)
