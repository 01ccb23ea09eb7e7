"""The laws: the loss of a run as a function of columns of the table of runs.

A law is a few lines of pure JAX: `loss(theta, x)` takes the parameters in the order of `params` and a dict of
columns, and returns nats per token. Adding one is a constant here and a line in LAWS.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array

Columns = Mapping[str, Array]


@dataclass(frozen=True)
class Law:
    """One functional form of the loss.

    Fits are made in units of the data: columns divided by their geometric means, the loss by the smallest one
    measured. `bounds`, `starts` and `prior` are in those units, so they need no knowledge of the table.

    Attributes:
      params: parameter names, in the order of `theta`.
      columns: columns of the table of runs that the law reads.
      loss: (theta [n_params], columns) -> loss, same shape as a column.
      unscale: (theta [..., n_params] in units of the data, units) -> theta in nats, parameters and tokens.
        `units` maps each column, and "loss", to its unit.
      bounds: box of theta; a fit that ends on it says so.
      starts: start points of the fit.
      prior: mean and standard deviation of each parameter, used in forecasts only (inf: no prior).
      relaxed: the form that forecasts are made with, because no law is exactly true; None for the law itself.
      formula, source: for people.
    """

    name: str
    params: tuple[str, ...]
    columns: tuple[str, ...]
    loss: Callable[[Array, Columns], Array]
    unscale: Callable[[np.ndarray, Mapping[str, float]], np.ndarray]
    bounds: tuple[tuple[float, float], ...]
    starts: tuple[tuple[float, ...], ...]
    prior: tuple[tuple[float, float], ...]
    formula: str
    source: str
    relaxed: "Law | None" = None


FREE = (0.0, float("inf"))  # a prior that says nothing


# ---- Chinchilla ------------------------------------------------------------------------------------------


def _chinchilla(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta = theta
    return E + A * jnp.exp(-alpha * jnp.log(x["n_params"])) + B * jnp.exp(-beta * jnp.log(x["n_tokens"]))


def _unscale_chinchilla(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, alpha, beta = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_params"], units["n_tokens"], units["loss"]
    return np.stack([loss * E, loss * A * n**alpha, loss * B * d**beta, alpha, beta], axis=-1)


# ---- Chinchilla with its ties loosened ---------------------------------------------------------------------
#
# On the frontier of Chinchilla's law the loss is E + K C^-gamma, and around it, at equal compute, the excess
# grows by a skewed cosh in log N. The same two exponents rule both: gamma = pq / (p + q), with p = alpha and
# q = beta the steepness towards small and large N, and the optimal N grows as C^(q / (p + q)). Real profiles
# are more curved than their frontier allows (small models on too many tokens, large ones on too few, lose
# more than the sum of two power laws), so a fit that keeps the tie reads a wrong E off the profiles and
# misses the frontier. Here tau and a are free; tau = 1, a = q / (p + q) is Chinchilla's law.


def _loose(theta: Array, x: Columns) -> Array:
    E, K, tau, p, q, g, a = theta
    log_c = jnp.log(x["n_params"]) + jnp.log(x["n_tokens"])
    off = jnp.log(x["n_params"]) - g - a * log_c
    profile = (q * jnp.exp(-p * off) + p * jnp.exp(q * off)) / (p + q)
    return E + K * jnp.exp(-tau * p * q / (p + q) * log_c) * profile


def _unscale_loose(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, K, tau, p, q, g, a = np.moveaxis(theta, -1, 0)
    n, c, loss = units["n_params"], units["n_params"] * units["n_tokens"], units["loss"]
    gamma = tau * p * q / (p + q)
    return np.stack([loss * E, loss * K * c**gamma, tau, p, q, g + np.log(n) - a * np.log(c), a], axis=-1)


CHINCHILLA_LOOSE = Law(
    name="chinchilla-loose",
    params=("E", "K", "tau", "p", "q", "g", "a"),
    columns=("n_params", "n_tokens"),
    loss=_loose,
    unscale=_unscale_loose,
    bounds=((0.0, 1.0), (0.0, 50.0), (0.1, 3.0), (0.02, 4.0), (0.02, 4.0), (-8.0, 8.0), (0.0, 1.0)),
    starts=tuple((0.5, 0.6, 0.85, p, p, g, 0.5) for p in (0.3, 0.7) for g in (-1.0, 0.0, 1.0)),
    # Weak guesses, chosen with extrapolations seen within the tables of Besiroglu et al. (2404.10102), Porian
    # et al. (2406.19146), McLeish et al. (2502.06857), Li et al. (2503.04715) and two grids of tiny models.
    prior=((0.65, 0.15), FREE, (0.96, 0.07), (0.5, 0.2), (0.5, 0.2), (0.0, 3.0), (0.5, 0.15)),
    formula="E + K / (ND)^(tau pq/(p+q)) * (q e^(-p u) + p e^(q u)) / (p+q), u = log N - g - a log(ND)",
    source="Hoffmann et al. 2022 (arXiv 2203.15556), eq. 2, in its frontier's coordinates, two ties loosened",
)
CHINCHILLA = Law(
    name="chinchilla",
    params=("E", "A", "B", "alpha", "beta"),
    columns=("n_params", "n_tokens"),
    loss=_chinchilla,
    unscale=_unscale_chinchilla,
    bounds=((0.0, 1.0), (0.0, 50.0), (0.0, 50.0), (0.0, 4.0), (0.0, 4.0)),
    starts=tuple((0.6, 0.3, 0.3, a, b) for a in (0.2, 0.5, 1.0) for b in (0.2, 0.5, 1.0)),
    prior=((0.65, 0.15), FREE, FREE, (0.5, 0.2), (0.5, 0.2)),
    formula="E + A / N^alpha + B / D^beta",
    source="Hoffmann et al. 2022 (arXiv 2203.15556), eq. 2; its robust fit: appendix D.3, eq. 3",
    relaxed=CHINCHILLA_LOOSE,
)
LAWS = {law.name: law for law in (CHINCHILLA,)}
