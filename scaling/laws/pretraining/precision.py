"""The precision law: weights of few bits count as fewer parameters."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _precision(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta, gamma = theta
    log_n = jnp.log(x["n_params"]) + jnp.log(1 - jnp.exp(-x["weight_bits"] / gamma))
    return E + A * jnp.exp(-alpha * log_n) + B * jnp.exp(-beta * jnp.log(x["n_tokens"]))


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, alpha, beta, gamma = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_params"], units["n_tokens"], units["loss"]
    return np.stack([loss * E, loss * A * n**alpha, loss * B * d**beta, alpha, beta, gamma], axis=-1)


# Where activations have the same bits as the weights, gamma speaks for them too.
PRECISION = Law(
    name="precision",
    params=("E", "A", "B", "alpha", "beta", "gamma"),
    columns=("n_params", "n_tokens", "weight_bits"),
    value=_precision,
    unscale=_unscale,
    bounds=((0.0, 1.0), (0.0, 50.0), (0.0, 50.0), (0.0, 4.0), (0.0, 4.0), (0.05, 30.0)),
    starts=tuple((0.6, 0.3, 0.3, a, b, 2.5) for a in (0.2, 0.5, 1.0) for b in (0.2, 0.5, 1.0)),
    prior=((0.65, 0.15), FREE, FREE, (0.5, 0.2), (0.5, 0.2), (2.5, 2.0)),
    formula="E + A / N'^alpha + B / D^beta, N' = N (1 - e^(-weight_bits/gamma))",
    source="Kumar et al. 2024 (arXiv 2411.04330), section 4",
    use="weights of varied numbers of bits in training",
    dimensionless=("weight_bits",),
)
