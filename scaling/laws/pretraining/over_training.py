"""The over-training law: loss by compute and by the ratio of tokens to parameters."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _over_training(theta: Array, x: Columns) -> Array:
    E, a, b, eta = theta
    log_n, log_d = jnp.log(x["n_params"]), jnp.log(x["n_tokens"])
    log_c, log_m = jnp.log(6.0) + log_n + log_d, log_d - log_n
    return E + a * jnp.exp(eta * (log_m - log_c)) + b * jnp.exp(-eta * (log_m + log_c))


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, a, b, eta = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_params"], units["n_tokens"], units["loss"]
    return np.stack([loss * E, loss * a * n ** (2 * eta), loss * b * d ** (2 * eta), eta], axis=-1)


# Chinchilla's law with alpha = beta = 2 eta: parallel lines of loss by compute, one for each M.
OVER_TRAINING = Law(
    name="over_training",
    params=("E", "a", "b", "eta"),
    columns=("n_params", "n_tokens"),
    value=_over_training,
    unscale=_unscale,
    bounds=((0.0, 1.0), (0.0, 500.0), (0.0, 500.0), (0.0, 2.0)),
    starts=tuple((0.6, 0.5, 0.5, eta) for eta in (0.1, 0.2, 0.4, 0.8)),
    prior=((0.65, 0.15), FREE, FREE, (0.25, 0.1)),
    formula="E + (a M^eta + b M^-eta) / C^eta, M = D / N, C = 6 N D",
    source="Gadre et al. 2024 (arXiv 2403.08540), eq. 4",
    use="chinchilla with one exponent for both terms: few runs, all far over-trained",
)
