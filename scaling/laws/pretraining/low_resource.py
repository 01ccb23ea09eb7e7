"""The price of scarce text: a language's loss by the tokens that were read of it, among many of others."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _low_resource(theta: Array, x: Columns) -> Array:
    E, B, beta, D_0 = theta
    return E + B * jnp.exp(-beta * jnp.log(x["language_tokens"] + D_0))


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, B, beta, D_0 = np.moveaxis(theta, -1, 0)
    tokens, loss = units["language_tokens"], units["loss"]
    return np.stack([loss * E, loss * B * tokens**beta, beta, tokens * D_0], axis=-1)


LOW_RESOURCE = Law(
    name="low_resource",
    params=("E", "B", "beta", "D_0"),
    columns=("language_tokens",),
    value=_low_resource,
    unscale=_unscale,
    bounds=((0.0, 1.0), (1e-4, 50.0), (0.02, 4.0), (0.0, 50.0)),
    starts=tuple((e, 0.2, b, d) for e in (0.5, 0.85) for b in (0.3, 0.8) for d in (0.05, 0.5)),
    prior=((0.8, 0.2), FREE, (0.5, 0.3), (0.2, 1.0)),
    formula="E + B / (D + D_0)^beta, D_0: tokens that the other languages are worth",
    source="Hernandez et al. 2021 (arXiv 2102.01293): data D_F + D_T; powers of a language's share: "
    "He et al. 2024 (arXiv 2410.12883)",
    use="loss of languages by the tokens read of each, runs of one size and length",
)
