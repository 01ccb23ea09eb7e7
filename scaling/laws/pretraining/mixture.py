"""Data mixing: the loss on one domain as a function of the shares of all domains in the training data."""

from collections.abc import Mapping
from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law

USE = "shares of data domains, runs of one size and length; {}:DOMAIN,DOMAIN,… for yours"


@cache
def mixture(*domains: str) -> Law:
    """Log loss linear in the shares and in their logarithms; `mixture:web,code` on the command line.

    The law of these domains, in columns share_<domain>, for runs of one size and length. The loss may be that
    of any text: fit each domain's by itself. At a given floor the fit is a ridge regression.

    Raises:
      ValueError: fewer than two domains, or one named twice.
    """
    return _log_linear("mixture", domains, domains)


@cache
def mixture_own(*domains: str) -> Law:
    """As `mixture`, with the logarithm of the first domain's share alone: the domain that the loss is of.

    Raises:
      ValueError: as for `mixture`.
    """
    return _log_linear("mixture_own", domains, domains[:1])


@cache
def mixture_exponential(*domains: str) -> Law:
    """The exponential law of these domains, without logarithms of shares: poor where a share nears 0.

    Raises:
      ValueError: as for `mixture`.
    """
    columns, slopes = _columns("mixture_exponential", domains), len(domains) - 1

    def value(theta: Array, x: Columns) -> Array:
        return theta[0] + theta[1] * jnp.exp(theta[2:] @ jnp.stack([x[column] for column in columns[:-1]]))

    def unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
        return np.concatenate([units["loss"] * theta[..., :2], theta[..., 2:]], axis=-1)

    return Law(
        name=f"mixture_exponential:{','.join(domains)}",
        params=("c", "k", *(f"t_{domain}" for domain in domains[:-1])),
        columns=columns,
        value=value,
        unscale=unscale,
        bounds=((0.0, 1.0), (0.0, 50.0), *[(-30.0, 30.0)] * slopes),
        starts=tuple((0.6, 0.5, *t) for t in [*(-np.ones(slopes) + 2 * np.eye(slopes)), np.ones(slopes)]),
        prior=((0.65, 0.15), FREE, *[(0.0, 3.0)] * slopes),
        formula=f"c + k exp(sum_j t_j share_j), t_{domains[-1]} = 0",
        source="Ye et al. 2024 (arXiv 2403.16952)",
        use=USE.format("mixture_exponential"),
        dimensionless=columns,
    )


def _log_linear(name: str, domains: tuple[str, ...], powers: tuple[str, ...]) -> Law:
    """log k + sum_j t_j share_j - sum_j a_j log(share_j + floor), the second sum over `powers`.

    Shares sum to 1, so that one slope is free to choose: the last domain's t is 0. Shares may be 0: the floor
    is what a domain gets from all the others, in units of its own text.
    """
    columns, slopes = _columns(name, domains), len(domains) - 1
    own = tuple(f"share_{domain}" for domain in powers)

    def value(theta: Array, x: Columns) -> Array:
        log_k, t, a, log_floor = theta[0], theta[1 : 1 + slopes], theta[1 + slopes : -1], theta[-1]
        shares = jnp.stack([x[column] for column in columns[:-1]])
        logs = jnp.log(jnp.stack([x[column] for column in own]) + jnp.exp(log_floor))
        return jnp.exp(log_k + t @ shares - a @ logs)

    def unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
        return np.concatenate([theta[..., :1] + np.log(units["loss"]), theta[..., 1:]], axis=-1)

    # The prior is the penalty of the ridge. Its widths, and the floor's, are round numbers of the range where
    # left-out mixtures of arXiv 2403.16952 and 2407.01492 are predicted best; they matter little.
    return Law(
        name=f"{name}:{','.join(domains)}",
        params=(
            "log_k",
            *(f"t_{domain}" for domain in domains[:-1]),
            *(f"a_{domain}" for domain in powers),
            "log_floor",
        ),
        columns=columns,
        value=value,
        unscale=unscale,
        bounds=((-20.0, 20.0), *[(-10.0, 10.0)] * slopes, *[(-3.0, 3.0)] * len(own), (-10.0, -1.0)),
        starts=tuple((0.3, *[0.01] * slopes, *[0.01] * len(own), floor) for floor in (-7.5, -6.0, -4.5)),
        prior=(FREE, *[(0.0, 0.1)] * slopes, *[(0.0, 0.05)] * len(own), (-5.5, 0.7)),
        formula="exp(log_k + sum_j t_j share_j) / prod_j (share_j + e^log_floor)^a_j"
        + (f", t_{domains[-1]} = 0" if powers == domains else f", a of {powers[0]} alone"),
        source="regression on shares and their logarithms: Liu et al. 2024 (arXiv 2407.01492), "
        "Chen et al. 2026 (arXiv 2602.12237)",
        use=USE.format(name),
        dimensionless=columns,
    )


def _columns(name: str, domains: tuple[str, ...]) -> tuple[str, ...]:
    if len(domains) < 2 or len(set(domains)) < len(domains):
        raise ValueError(f"{name} of {domains}; name two or more domains, for example {name}:web,code")
    return tuple(f"share_{domain}" for domain in domains)
