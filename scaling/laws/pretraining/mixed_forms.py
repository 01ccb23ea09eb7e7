"""Two forms that forecasts of Chinchilla's law are mixed with: its terms add up otherwise, or interact.

Both are mixed in with a low floor a priori: where runs do not tell how far the loss can fall, Chinchilla's
prior says that it cannot fall far, and forecasts by other forms are worth most if they say the opposite.
"""

from collections.abc import Mapping
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _skaling(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta, k = theta
    of_size = (jnp.log(A) - alpha * jnp.log(x["n_params"])) / k
    of_data = (jnp.log(B) - beta * jnp.log(x["n_tokens"])) / k
    return E + jnp.exp(k * jnp.logaddexp(of_size, of_data))


def _unscale_skaling(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, alpha, beta, k = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_params"], units["n_tokens"], units["loss"]
    return np.stack([loss * E, loss * A * n**alpha, loss * B * d**beta, alpha, beta, k], axis=-1)


# The published E + (A' / N^alpha' + B' / D^beta')^k with A = A'^k, alpha = k alpha' and so on, so that the
# exponents are those of either term alone, as in Chinchilla's law, which is k = 1.
SKALING = Law(
    name="skaling",
    params=("E", "A", "B", "alpha", "beta", "k"),
    columns=("n_params", "n_tokens"),
    value=_skaling,
    unscale=_unscale_skaling,
    bounds=((0.0, 1.0), (1e-6, 50.0), (1e-6, 50.0), (0.01, 4.0), (0.01, 4.0), (0.1, 2.0)),
    starts=tuple((0.6, 0.3, 0.3, a, b, k) for a, b in ((0.3, 0.5), (0.5, 0.3)) for k in (0.4, 0.9)),
    prior=((0.4, 0.25), FREE, FREE, (0.3, 0.2), (0.3, 0.2), (0.6, 0.4)),
    formula="E + ((A / N^alpha)^(1/k) + (B / D^beta)^(1/k))^k",
    source="arXiv 2608.07222: E + (A / N^alpha + B / D^beta)^k, here with A^k, k alpha, B^k and k beta",
    use="grids of sizes and tokens far from the frontier, too; chinchilla is k = 1",
)


def _interacting(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta, kappa, zeta = theta
    log_n, log_d = jnp.log(x["n_params"]), jnp.log(x["n_tokens"])
    return E + A * jnp.exp(-alpha * log_n) + B * jnp.exp(-kappa * log_n - (beta + zeta * log_n) * log_d)


def _unscale_interacting(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
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
    unscale=_unscale_interacting,
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


# Chosen with simulated worlds and public tables seen: docs/concepts/intervals.md.
LOW_FLOOR = {"E": (0.2, 0.2), "alpha": (0.2, 0.15), "beta": (0.2, 0.15)}


def with_low_floor(law: Law) -> Law:
    """The law with a prior by which most of the loss can still be learnt, slowly."""
    prior = tuple(LOW_FLOOR.get(name, of_law) for name, of_law in zip(law.params, law.prior))
    return replace(law, name=f"{law.name}-low-floor", prior=prior)
