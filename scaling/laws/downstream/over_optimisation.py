"""Reward over-optimisation: the true reward rises and falls while a proxy of it is driven up."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _best_of_n(theta: Array, x: Columns) -> Array:
    alpha, beta = theta
    d = jnp.sqrt(x["kl"])
    return d * (alpha - beta * d)


def _rl(theta: Array, x: Columns) -> Array:
    alpha, beta = theta
    d = jnp.sqrt(x["kl"])
    return d * alpha - beta * d * jnp.log(jnp.where(d > 0, d, 1.0))


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    return theta


def _law(name: str, value, formula: str, use: str) -> Law:
    return Law(
        name=name,
        params=("alpha", "beta"),
        columns=("kl",),
        value=value,
        unscale=_unscale,
        bounds=((-1e6, 1e6), (-1e6, 1e6)),
        starts=((1.0, 0.1),),
        prior=(FREE, FREE),
        formula=formula,
        source="Gao et al. 2022 (arXiv 2210.10760), section 3",
        use=use,
        target="reward",
        scale="linear",
        dimensionless=("kl",),
    )


# kl is the policy's divergence from its start in nats: of best-of-n, repeated_sampling.kl_of_best_of_n. The
# peak of best-of-n is at d = alpha / (2 beta), that of RL at d = exp(alpha / beta - 1).
OVER_OPTIMISATION_BON = _law(
    "over_optimisation_bon",
    _best_of_n,
    "d (alpha - beta d), d = kl^0.5",
    "true reward less the start's, of best-of-n against a proxy",
)
OVER_OPTIMISATION_RL = _law(
    "over_optimisation_rl",
    _rl,
    "d (alpha - beta log d), d = kl^0.5",
    "true reward less the start's, of RL against a proxy",
)
