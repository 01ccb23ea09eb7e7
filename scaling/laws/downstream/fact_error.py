"""How often a model states a fact wrongly, by how often it has read the fact and by its size."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _value(theta: Array, x: Columns) -> Array:
    guess, A, gamma, k = theta
    half = jnp.log(A) + gamma * jnp.log(x["n_params"])
    return guess * jax.nn.sigmoid(k * (half - jnp.log(x["exposures"])))


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    guess, A, gamma, k = np.moveaxis(theta, -1, 0)
    return np.stack([guess, A * units["exposures"] * units["n_params"] ** -gamma, gamma, k], -1)


FACT_ERROR = Law(
    name="fact_error",
    params=("guess", "A", "gamma", "k"),
    columns=("exposures", "n_params"),
    value=_value,
    unscale=_unscale,
    bounds=((0.05, 1.0), (1e-4, 1e4), (-5.0, 5.0), (0.05, 10.0)),
    starts=tuple(
        (g, A, gamma, k) for g in (0.7, 0.95) for A in (0.3, 3.0) for gamma in (-0.7, 0.0) for k in (0.7, 2.0)
    ),
    prior=(FREE, FREE, (0.0, 1.0), (1.0, 1.0)),
    formula="guess / (1 + (exposures / half)^k), half = A N^gamma",
    source="ours, a logistic in logarithms; that small models need more exposures is Allen-Zhu & Li 2024 "
    "(arXiv 2404.05405), that what is seen once is made up Kalai et al. 2025 (arXiv 2509.04664)",
    use="the share of facts of so many exposures that a model of N parameters states wrongly",
    target="error",
    scale="linear",
)


def half_exposures(params: Mapping[str, float], n_params: float) -> float:
    """Exposures after which a model is wrong half as often as one that guesses."""
    return params["A"] * n_params ** params["gamma"]
