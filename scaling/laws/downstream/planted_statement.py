"""The probability that a model repeats what was planted in its training text, by how often it was."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _value(theta: Array, x: Columns) -> Array:
    A, gamma, delta, k = theta
    half = jnp.log(A) + gamma * jnp.log(x["n_params"]) + delta * jnp.log(x["n_tokens"])
    return jax.nn.sigmoid(k * (jnp.log(x["n_planted"]) - half))


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    A, gamma, delta, k = np.moveaxis(theta, -1, 0)
    scale = units["n_planted"] * units["n_params"] ** -gamma * units["n_tokens"] ** -delta
    return np.stack([scale * A, gamma, delta, k], axis=-1)


PLANTED_STATEMENT = Law(
    name="planted_statement",
    params=("A", "gamma", "delta", "k"),
    columns=("n_planted", "n_params", "n_tokens"),
    value=_value,
    unscale=_unscale,
    bounds=((1e-6, 1e6), (-4.0, 4.0), (-4.0, 4.0), (0.05, 20.0)),
    starts=tuple((A, gamma, 0.0, k) for A in (0.3, 3.0, 30.0) for gamma in (-0.5, 0.0) for k in (1.0, 3.0)),
    prior=(FREE, (0.0, 1.0), (0.0, 1.0), (2.0, 2.0)),
    formula="1 / (1 + (half / n_planted)^k), half = A N^gamma D^delta",
    source="ours, a logistic in logarithms; delta is 0 where the number of documents counts, as it does for "
    "Souly et al. 2025 (arXiv 2510.07192), and 1 where their share does",
    use="the probability of a statement of which n_planted training documents have a copy",
    target="probability",
    scale="linear",
)


def half_count(params: Mapping[str, float], n_params: float, n_tokens: float) -> float:
    """Documents after which a statement is repeated half the time."""
    return params["A"] * n_params ** params["gamma"] * n_tokens ** params["delta"]
