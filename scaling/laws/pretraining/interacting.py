"""Chinchilla's law whose data term depends on the size: larger models learn faster from their tokens."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _interacting(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta, kappa, zeta = theta
    log_n, log_d = jnp.log(x["n_params"]), jnp.log(x["n_tokens"])
    return E + A * jnp.exp(-alpha * log_n) + B * jnp.exp(-kappa * log_n - (beta + zeta * log_n) * log_d)


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, alpha, beta, kappa, zeta = np.moveaxis(theta, -1, 0)
    n, d, loss = np.log(units["n_params"]), np.log(units["n_tokens"]), units["loss"]
    B = loss * B * np.exp(beta * d + kappa * n - zeta * n * d)
    return np.stack(
        [loss * E, loss * A * np.exp(alpha * n), B, alpha, beta - zeta * n, kappa - zeta * d, zeta], axis=-1
    )


INTERACTING = Law(
    name="interacting",
    params=("E", "A", "B", "alpha", "beta", "kappa", "zeta"),
    columns=("n_params", "n_tokens"),
    value=_interacting,
    unscale=_unscale,
    bounds=(
        *((0.0, 1.0), (0.0, 50.0), (0.0, 50.0), (0.0, 4.0), (0.0, 4.0)),
        *((-1.0, 1.0), (-0.2, 0.2)),
    ),
    starts=tuple((0.6, 0.3, 0.3, a, b, 0.0, 0.0) for a, b in ((0.3, 0.5), (0.5, 0.3))),
    prior=((0.4, 0.25), FREE, FREE, (0.3, 0.2), (0.3, 0.2), (0.0, 0.1), (0.0, 0.03)),
    formula="E + A / N^alpha + B / (N^kappa D^(beta + zeta log N))",
    source="after Farseer (arXiv 2506.10972), whose data term has a scale and an exponent that depend on N, "
    "both to first order in log N",
    use="grids of sizes and tokens in which larger models learn faster; chinchilla is kappa = zeta = 0",
)
