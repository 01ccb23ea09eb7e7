"""Data mixing: the loss on one domain as a function of the shares of all domains in the training data."""

from collections.abc import Mapping
from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


@cache
def mixture(*domains: str) -> Law:
    """The law of these domains, in columns share_<domain>; `mixture:web,code` on the command line.

    For runs of one size and length. The loss may be that of any text: fit each domain's by itself. Shares sum
    to 1, so that one slope is free to choose: the last domain's is 0, and the others are relative to it.

    Raises:
      ValueError: fewer than two domains, or one named twice.
    """
    if len(domains) < 2 or len(set(domains)) < len(domains):
        raise ValueError(f"mixture of {domains}; name two or more domains, for example mixture:web,code")
    columns = tuple(f"share_{domain}" for domain in domains)

    def value(theta: Array, x: Columns) -> Array:
        shares = jnp.stack([x[column] for column in columns[:-1]])
        return theta[0] + theta[1] * jnp.exp(theta[2:] @ shares)

    def unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
        return np.concatenate([units["loss"] * theta[..., :2], theta[..., 2:]], axis=-1)

    slopes = len(domains) - 1
    return Law(
        name=f"mixture:{','.join(domains)}",
        params=("c", "k", *(f"t_{domain}" for domain in domains[:-1])),
        columns=columns,
        value=value,
        unscale=unscale,
        bounds=((0.0, 1.0), (0.0, 50.0), *[(-30.0, 30.0)] * slopes),
        starts=tuple((0.6, 0.5, *t) for t in [*(-np.ones(slopes) + 2 * np.eye(slopes)), np.ones(slopes)]),
        prior=((0.65, 0.15), FREE, *[(0.0, 3.0)] * slopes),
        formula=f"c + k exp(sum_j t_j share_j), t_{domains[-1]} = 0",
        source="Ye et al. 2024 (arXiv 2403.16952)",
        use="shares of data domains, runs of one size and length; mixture:DOMAIN,DOMAIN,… for yours",
        dimensionless=columns,
    )
