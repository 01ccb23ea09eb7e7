"""Laws of mixtures of experts: by number of experts, by granularity, and by both."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _moe(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta, delta, gamma, omega, zeta, x_start, x_max = theta
    # One expert counts as x_start, infinitely many as x_max: Clark et al. 2022 (arXiv 2202.01169).
    counted = x["n_experts"] - 1 + 1 / (1 / x_start - 1 / x_max)
    log_x = -jnp.log(1 / counted + 1 / x_max)
    log_n, log_d = jnp.log(x["n_active"]), jnp.log(x["n_tokens"])
    few_params = A * jnp.exp(delta * log_x - (alpha - gamma * log_x) * log_n)
    few_tokens = B * jnp.exp(omega * log_x - (beta - zeta * log_x) * log_d)
    return E + few_params + few_tokens


def _unscale_moe(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, alpha, beta, delta, gamma, omega, zeta, x_start, x_max = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_active"], units["n_tokens"], units["loss"]
    A, B = loss * A * n**alpha, loss * B * d**beta
    delta, omega = delta - gamma * np.log(n), omega - zeta * np.log(d)
    return np.stack([loss * E, A, B, alpha, beta, delta, gamma, omega, zeta, x_start, x_max], axis=-1)


MOE = Law(
    name="moe",
    params=("E", "A", "B", "alpha", "beta", "delta", "gamma", "omega", "zeta", "x_start", "x_max"),
    columns=("n_active", "n_tokens", "n_experts"),
    value=_moe,
    unscale=_unscale_moe,
    bounds=(
        *((0.0, 1.0), (0.0, 50.0), (0.0, 50.0), (0.0, 4.0), (0.0, 4.0)),
        *((-2.0, 2.0), (-0.5, 0.5), (-2.0, 2.0), (-0.5, 0.5), (0.1, 20.0), (21.0, 1e5)),
    ),
    starts=tuple(
        (0.6, 0.3, 0.3, a, b, -0.1, 0.0, w, 0.0, 2.0, 300.0)
        for a in (0.3, 0.7)
        for b in (0.3, 0.7)
        for w in (-0.1, 0.1)
    ),
    prior=(
        *((0.65, 0.15), FREE, FREE, (0.5, 0.2), (0.5, 0.2)),
        *((0.0, 0.3), (0.0, 0.05), (0.0, 0.3), (0.0, 0.05), (2.0, 2.0), (300.0, 300.0)),
    ),
    formula="E + A x^delta / N^(alpha - gamma log x) + B x^omega / D^(beta - zeta log x), "
    "N active, x the experts between x_start and x_max",
    source="Ludziejewski et al. 2025 (arXiv 2502.05172)",
    use="experts of varied number, 1 for a dense model; of varied width: granularity",
    dimensionless=("n_experts",),
)


def _granularity(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta, g, gamma = theta
    coarse = A + g * jnp.exp(-gamma * jnp.log(x["granularity"]))
    few_params = coarse * jnp.exp(-alpha * jnp.log(x["n_active"]))
    return E + few_params + B * jnp.exp(-beta * jnp.log(x["n_tokens"]))


def _unscale_granularity(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, alpha, beta, g, gamma = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_active"], units["n_tokens"], units["loss"]
    per_n = loss * n**alpha
    return np.stack([loss * E, per_n * A, loss * B * d**beta, alpha, beta, per_n * g, gamma], axis=-1)


# The paper's N is of all parameters; at one ratio of all to active ones this changes A and g alone.
GRANULARITY = Law(
    name="granularity",
    params=("E", "A", "B", "alpha", "beta", "g", "gamma"),
    columns=("n_active", "n_tokens", "granularity"),
    value=_granularity,
    unscale=_unscale_granularity,
    bounds=((0.0, 1.0), (0.0, 50.0), (0.0, 50.0), (0.0, 4.0), (0.0, 4.0), (0.0, 50.0), (0.02, 5.0)),
    starts=tuple((0.6, 0.3, 0.3, a, b, 0.1, 0.6) for a in (0.2, 0.5, 1.0) for b in (0.2, 0.5, 1.0)),
    prior=((0.65, 0.15), FREE, FREE, (0.5, 0.2), (0.5, 0.2), FREE, (0.6, 0.5)),
    formula="E + (A + g / G^gamma) / N^alpha + B / D^beta, N active, G = d_ff if dense / width of an expert",
    source="Krajewski et al. 2024 (arXiv 2402.07871), eq. 9",
    use="experts of varied width, at one ratio of total to active parameters; of varied number: moe",
    dimensionless=("granularity",),
    idle_params=True,
)


def _sparsity(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta, rho, eta, omega = theta
    log_x = jnp.log(x["expansion"])
    log_n = jnp.log(x["n_active"]) + (rho + eta * jnp.log(x["granularity"])) * log_x
    few_tokens = B * jnp.exp(omega * log_x - beta * jnp.log(x["n_tokens"]))
    return E + A * jnp.exp(-alpha * log_n) + few_tokens


def _unscale_sparsity(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, alpha, beta, rho, eta, omega = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_active"], units["n_tokens"], units["loss"]
    return np.stack([loss * E, loss * A * n**alpha, loss * B * d**beta, alpha, beta, rho, eta, omega], -1)


# Fewer parameters than `moe`, for tables that also vary the granularity: without saturation in the number of
# experts, and exponents that do not depend on it. A dense model has expansion 1, whatever its granularity.
SPARSITY = Law(
    name="sparsity",
    params=("E", "A", "B", "alpha", "beta", "rho", "eta", "omega"),
    columns=("n_active", "n_tokens", "expansion", "granularity"),
    value=_sparsity,
    unscale=_unscale_sparsity,
    bounds=(
        *((0.0, 1.0), (0.0, 50.0), (0.0, 50.0), (0.0, 4.0), (0.0, 4.0)),
        *((-1.0, 2.0), (-1.0, 1.0), (-1.0, 1.0)),
    ),
    starts=tuple((0.6, 0.3, 0.3, a, b, 0.3, 0.0, 0.0) for a in (0.2, 0.5, 1.0) for b in (0.2, 0.5, 1.0)),
    prior=(
        *((0.65, 0.15), FREE, FREE, (0.5, 0.2), (0.5, 0.2)),
        *((0.3, 0.3), (0.0, 0.1), (0.0, 0.1)),
    ),
    formula="E + A / N'^alpha + B x^omega / D^beta, N' = N active * x^(rho + eta log G), "
    "x = all experts / those of a token (expansion), G = granularity",
    source="terms of Ludziejewski et al. 2025 (arXiv 2502.05172); a power of the share of active experts "
    "that depends on log G: Tian et al. 2025 (arXiv 2507.17702)",
    use="experts of varied number and width together; moe or granularity where one of them varies",
    dimensionless=("expansion", "granularity"),
)
