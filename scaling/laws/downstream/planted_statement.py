"""What a statement that was planted in training text still costs a model, by how often it was planted."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _value(theta: Array, x: Columns) -> Array:
    B, A, gamma, delta, k = theta
    half = jnp.log(A) + gamma * jnp.log(x["n_params"]) + delta * jnp.log(x["n_tokens"])
    return B / (1 + jnp.exp(k * (jnp.log(x["n_planted"]) - half)))


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    B, A, gamma, delta, k = np.moveaxis(theta, -1, 0)
    scale = units["n_planted"] * units["n_params"] ** -gamma * units["n_tokens"] ** -delta
    return np.stack([units["nats"] * B, scale * A, gamma, delta, k], axis=-1)


PLANTED_STATEMENT = Law(
    name="planted_statement",
    params=("B", "A", "gamma", "delta", "k"),
    columns=("n_planted", "n_params", "n_tokens"),
    value=_value,
    unscale=_unscale,
    bounds=((0.1, 1e3), (1e-4, 1e5), (-5.0, 5.0), (-5.0, 5.0), (0.05, 10.0)),
    starts=tuple((B, A, -0.3, 0.1, k) for B in (1.5, 5.0, 15.0) for A in (1.0, 10.0) for k in (0.7, 2.0)),
    prior=(FREE, FREE, (0.0, 1.0), (0.0, 1.0), (1.0, 1.0)),
    formula="B / (1 + (n_planted / half)^k), half = A N^gamma D^delta",
    source="ours, a logistic in logarithms; delta is 0 where the number of documents counts, as it does for "
    "Souly et al. 2025 (arXiv 2510.07192), and 1 where their share does",
    use="nats of a statement of which n_planted training documents have a copy",
    target="nats",
)


def half_count(params: Mapping[str, float], n_params: float, n_tokens: float) -> float:
    """Documents after which a statement costs half of the nats that one costs which was never planted."""
    return params["A"] * n_params ** params["gamma"] * n_tokens ** params["delta"]
