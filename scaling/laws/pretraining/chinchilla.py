"""Chinchilla's law, and the same with decoupled exponents, which forecasts are made with."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law
from scaling.laws.pretraining.mixed_forms import INTERACTING, SKALING, with_low_floor


def _chinchilla(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta = theta
    return E + A * jnp.exp(-alpha * jnp.log(x["n_params"])) + B * jnp.exp(-beta * jnp.log(x["n_tokens"]))


def _unscale_chinchilla(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, alpha, beta = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_params"], units["n_tokens"], units["loss"]
    return np.stack([loss * E, loss * A * n**alpha, loss * B * d**beta, alpha, beta], axis=-1)


def _best_size_chinchilla(theta: np.ndarray, flops: np.ndarray) -> np.ndarray:
    """N* = G (C/6)^a, G = (alpha A / (beta B))^(1/(alpha+beta)): Hoffmann et al. 2022, eq. 4."""
    _, A, B, alpha, beta = theta.T[:, :, None]
    with np.errstate(all="ignore"):
        log_g = (np.log(alpha * A) - np.log(beta * B)) / (alpha + beta)
        n_params = np.exp(log_g + beta / (alpha + beta) * np.log(flops / 6))
    return np.where((n_params > 0) & (n_params < np.inf), n_params, np.nan)  # without A or B there is none


def _size_exponent_chinchilla(theta: np.ndarray) -> np.ndarray:
    """a = beta / (alpha + beta): Hoffmann et al. 2022, eq. 4."""
    alpha, beta = theta[..., 3], theta[..., 4]
    return beta / np.maximum(alpha + beta, 1e-12)


# ---- Chinchilla with decoupled exponents -------------------------------------------------------------------
#
# On the frontier of Chinchilla's law the loss is E + K (ND)^-gamma, and around it, at equal compute, the
# excess grows by a skewed cosh in log N. The same two exponents rule both: gamma = pq / (p + q), with
# p = alpha and q = beta the steepness towards small and large N, and the optimal N grows as C^(q / (p + q)).
# Real profiles are more curved than their frontier allows (small models on too many tokens and large ones on
# too few lose more than the sum of two power laws), so a fit that keeps the exponents coupled reads a wrong E
# off them and misses the frontier. Here gamma and a are free; gamma = pq / (p + q), a = q / (p + q) is
# Chinchilla's.


def _decoupled(theta: Array, x: Columns) -> Array:
    E, K, gamma, p, q, g, a = theta
    log_c = jnp.log(x["n_params"]) + jnp.log(x["n_tokens"])
    off = jnp.log(x["n_params"]) - g - a * log_c
    profile = (q * jnp.exp(-p * off) + p * jnp.exp(q * off)) / (p + q)
    return E + K * jnp.exp(-gamma * log_c) * profile


def _unscale_decoupled(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, K, gamma, p, q, g, a = np.moveaxis(theta, -1, 0)
    n, c, loss = units["n_params"], units["n_params"] * units["n_tokens"], units["loss"]
    return np.stack([loss * E, loss * K * c**gamma, gamma, p, q, g + np.log(n) - a * np.log(c), a], axis=-1)


def _best_size_decoupled(theta: np.ndarray, flops: np.ndarray) -> np.ndarray:
    """log N* = g + a log(C/6): there the law's profile has its minimum."""
    g, a = theta.T[-2:, :, None]
    return np.exp(g + a * np.log(flops / 6))


CHINCHILLA_DECOUPLED = Law(
    name="chinchilla-decoupled",
    params=("E", "K", "gamma", "p", "q", "g", "a"),
    columns=("n_params", "n_tokens"),
    value=_decoupled,
    unscale=_unscale_decoupled,
    bounds=((0.0, 1.0), (0.0, 50.0), (0.01, 1.0), (0.02, 4.0), (0.02, 4.0), (-8.0, 8.0), (0.0, 1.0)),
    starts=tuple((0.5, 0.6, 0.16, p, p, g, 0.5) for p in (0.3, 0.7) for g in (-1.0, 0.0, 1.0)),
    # Published fits have gamma from 0.15 to 0.2 (0.154 in Hoffmann et al., 0.178 in 2404.10102, 0.177 in
    # 2305.16264) and E a half to three quarters of the lowest loss measured. The rest are weak guesses. All
    # were chosen with extrapolations seen within the tables of 2404.10102, 2406.19146, 2502.06857 and
    # 2503.04715.
    prior=((0.6, 0.08), FREE, (0.155, 0.025), (0.5, 0.2), (0.5, 0.2), (0.0, 3.0), (0.5, 0.15)),
    formula="E + K / (ND)^gamma * (q e^(-p u) + p e^(q u)) / (p+q), u = log N - g - a log(ND)",
    source="Hoffmann et al. 2022 (arXiv 2203.15556), eq. 2, in its frontier's coordinates, "
    "two exponents decoupled",
    best_size=_best_size_decoupled,
)
CHINCHILLA = Law(
    name="chinchilla",
    params=("E", "A", "B", "alpha", "beta"),
    columns=("n_params", "n_tokens"),
    value=_chinchilla,
    unscale=_unscale_chinchilla,
    bounds=((0.0, 1.0), (0.0, 50.0), (0.0, 50.0), (0.0, 4.0), (0.0, 4.0)),
    starts=tuple((0.6, 0.3, 0.3, a, b) for a in (0.2, 0.5, 1.0) for b in (0.2, 0.5, 1.0)),
    prior=((0.65, 0.15), FREE, FREE, (0.5, 0.2), (0.5, 0.2)),
    formula="E + A / N^alpha + B / D^beta",
    source="Hoffmann et al. 2022 (arXiv 2203.15556), eq. 2; its robust fit: appendix D.3, eq. 3",
    use="models of one kind, trained once through their data",
    relaxed=CHINCHILLA_DECOUPLED,
    beside=(with_low_floor(SKALING), with_low_floor(INTERACTING)),
    best_size=_best_size_chinchilla,
    size_exponent=_size_exponent_chinchilla,
)
