"""Kaplan's law of parameters and tokens, without an irreducible loss."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _kaplan(theta: Array, x: Columns) -> Array:
    A, B, alpha_N, alpha_D = theta
    few_params = jnp.log(A) - alpha_N * jnp.log(x["n_params"])
    few_tokens = jnp.log(B) - alpha_D * jnp.log(x["n_tokens"])
    return jnp.exp(alpha_D * jnp.logaddexp(few_params / alpha_D, few_tokens / alpha_D))


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    A, B, alpha_N, alpha_D = np.moveaxis(theta, -1, 0)
    n, d, loss = units["n_params"], units["n_tokens"], units["loss"]
    return np.stack([loss * A * n**alpha_N, loss * B * d**alpha_D, alpha_N, alpha_D], axis=-1)


# The paper's N_c = A^(1/alpha_N) and D_c = B^(1/alpha_D) span decades where A and B stay near the loss.
KAPLAN = Law(
    name="kaplan",
    params=("A", "B", "alpha_N", "alpha_D"),
    columns=("n_params", "n_tokens"),
    value=_kaplan,
    unscale=_unscale,
    bounds=((1e-6, 50.0), (1e-6, 50.0), (0.005, 2.0), (0.005, 2.0)),
    starts=tuple((0.8, 0.8, a, b) for a in (0.05, 0.1, 0.3) for b in (0.05, 0.1, 0.3)),
    prior=(FREE, FREE, (0.1, 0.1), (0.1, 0.1)),
    formula="[(A / N^alpha_N)^(1/alpha_D) + (B / D^alpha_D)^(1/alpha_D)]^alpha_D, A = N_c^alpha_N",
    source="Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.5",
    use="as chinchilla without a floor: to reproduce older work, not to extrapolate",
)
