"""Laws of repeated data: repeats that are worth less and less, and repeats that do harm."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _data_constrained(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta, R_D, R_N = theta
    log_unique = jnp.log(jnp.minimum(x["unique_tokens"], x["n_tokens"]))
    # The N that Chinchilla's law calls best for the unique tokens: alpha A / N^alpha = beta B / D^beta.
    log_enough = (jnp.log(alpha * A) - jnp.log(beta * B) + beta * log_unique) / alpha
    log_used = jnp.minimum(jnp.log(x["n_params"]), log_enough)
    log_n = log_used + _worth(jnp.log(x["n_params"]) - log_used, R_N)
    log_d = log_unique + _worth(jnp.log(x["n_tokens"]) - log_unique, R_D)
    return E + A * jnp.exp(-alpha * log_n) + B * jnp.exp(-beta * log_d)


def _worth(log_copies: Array, most: Array) -> Array:
    """Log of the worth of so many copies of a thing: the first counts whole, all others as `most` at most."""
    return jnp.log(1 + most * (1 - jnp.exp((1 - jnp.exp(log_copies)) / most)))


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, alpha, beta, R_D, R_N = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_params"], units["n_tokens"], units["loss"]
    return np.stack([loss * E, loss * A * n**alpha, loss * B * d**beta, alpha, beta, R_D, R_N], axis=-1)


DATA_CONSTRAINED = Law(
    name="data_constrained",
    params=("E", "A", "B", "alpha", "beta", "R_D", "R_N"),
    columns=("n_params", "n_tokens", "unique_tokens"),
    value=_data_constrained,
    unscale=_unscale,
    bounds=((0.0, 1.0), (1e-4, 50.0), (1e-4, 50.0), (0.02, 4.0), (0.02, 4.0), (0.1, 1e3), (0.1, 1e3)),
    starts=tuple((0.6, 0.3, 0.3, a, b, r, 5.0) for a in (0.3, 0.6) for b in (0.3, 0.6) for r in (4.0, 15.0)),
    prior=((0.65, 0.15), FREE, FREE, (0.5, 0.2), (0.5, 0.2), (15.0, 10.0), (5.0, 5.0)),
    formula="E + A / N'^alpha + B / D'^beta, D' = U (1 + R_D (1 - e^(-(D/U - 1)/R_D))), N' likewise",
    source="Muennighoff et al. 2023 (arXiv 2305.16264), section 3.1",
    use="tokens met again and again; chinchilla where each is met once",
    same_unit=(("unique_tokens", "n_tokens"),),
)


def _overfitting(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta, P, delta, kappa = theta
    log_n, log_d, log_u = (jnp.log(x[name]) for name in ("n_params", "n_tokens", "unique_tokens"))
    repeats = jnp.expm1(log_d - log_u)
    log_repeats = jnp.log(jnp.where(repeats > 0, repeats, 1.0))
    penalty = P * jnp.exp(delta * log_repeats + kappa * (log_n - log_u))
    once = E + A * jnp.exp(-alpha * log_n) + B * jnp.exp(-beta * log_d)
    return once + jnp.where(repeats > 0, penalty, 0.0)


def _unscale_overfitting(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, alpha, beta, P, delta, kappa = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_params"], units["n_tokens"], units["loss"]
    P = loss * P * (d / n) ** kappa
    return np.stack(
        [loss * E, loss * A * n**alpha, loss * B * d**beta, alpha, beta, P, delta, kappa], axis=-1
    )


OVERFITTING = Law(
    name="overfitting",
    params=("E", "A", "B", "alpha", "beta", "P", "delta", "kappa"),
    columns=("n_params", "n_tokens", "unique_tokens"),
    value=_overfitting,
    unscale=_unscale_overfitting,
    bounds=(
        *((0.0, 1.0), (1e-4, 50.0), (1e-4, 50.0), (0.02, 4.0), (0.02, 4.0)),
        *((0.0, 50.0), (0.05, 4.0), (0.05, 4.0)),
    ),
    starts=tuple(
        (0.6, 0.3, 0.3, a, b, 0.02, d, k)
        for a, b in ((0.3, 0.6), (0.6, 0.3))
        for d in (0.5, 1.2)
        for k in (0.5, 1.2)
    ),
    prior=((0.65, 0.15), FREE, FREE, (0.5, 0.2), (0.5, 0.2), FREE, (1.0, 0.5), (1.0, 0.5)),
    formula="E + A / N^alpha + B / D^beta + P (D/U - 1)^delta (N/U)^kappa, the last 0 where D <= U",
    source="Lovelace et al. 2026 (arXiv 2605.01640)",
    use="tokens met so often that the loss rises again; data_constrained where it only stops falling",
    same_unit=(("unique_tokens", "n_tokens"),),
)
