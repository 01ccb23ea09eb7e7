"""Reward over-optimisation: the true reward rises and falls while a proxy of it is driven up."""

from collections.abc import Callable, Mapping
from functools import cache

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law

BOUND = (-1e6, 1e6)


@cache
def over_optimisation_bon(*columns: str) -> Law:
    """Of best-of-n: d (alpha - beta d). With columns, as of `_law`: `over_optimisation_bon:reward_params`.

    The divergence of best-of-n is repeated_sampling.kl_of_best_of_n; the peak is `peak_of_best_of_n`.
    """
    return _law("over_optimisation_bon", columns, columns, lambda d: d, "d", "best-of-n")


@cache
def over_optimisation_rl(*columns: str) -> Law:
    """Of RL, and of DPO: d (alpha - beta log d). With columns, as of `_law`; the peak is `peak_of_rl`.

    Its alpha is that of reward models of all sizes, `reward_params` (section 3.2: "we can hold alpha_RL
    constant across all RM sizes, resulting in a clean scaling curve for beta_RL").
    """
    return _law(
        "over_optimisation_rl",
        tuple(column for column in columns if column != "reward_params"),
        columns,
        lambda d: jnp.log(jnp.where(d > 0, d, 1.0)),
        "log d",
        "RL or DPO (which follows it too: Rafailov et al. 2024, arXiv 2406.02900)",
    )


def peak_of_best_of_n(alpha: np.ndarray | float, beta: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """(d, reward) at the peak of d (alpha - beta d): alpha / (2 beta), alpha² / (4 beta); NaN without one."""
    alpha, beta = np.asarray(alpha, float), np.asarray(beta, float)
    there = (alpha > 0) & (beta > 0)
    d = np.where(there, alpha, np.nan) / np.where(there, 2 * beta, np.nan)
    return d, alpha * d / 2


def peak_of_rl(alpha: np.ndarray | float, beta: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """(d, reward) at the peak of d (alpha - beta log d): e^(alpha / beta - 1), beta d; NaN without one."""
    alpha, beta = np.asarray(alpha, float), np.asarray(beta, float)
    beta = np.where(beta > 0, beta, np.nan)
    d = np.exp(alpha / beta - 1)
    return d, beta * d


def coefficients(params: Mapping[str, float], **columns: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, beta) that a fit over several reward models gives for one of these columns.

    Args:
      params: of the fit, by name.
      columns: those of the law, such as reward_params=1e5.
    """
    alpha, beta = (
        params[name] + sum(params.get(f"{name}_{column}", 0.0) * np.log(x) for column, x in columns.items())
        for name in ("alpha", "beta")
    )
    return np.asarray(alpha, float), np.asarray(beta, float)


def _law(
    name: str,
    of_alpha: tuple[str, ...],
    columns: tuple[str, ...],
    penalty: Callable,
    written: str,
    of: str,
) -> Law:
    """d (alpha - beta penalty(d)) of d = kl^0.5.

    Args:
      name: of the law.
      of_alpha: the columns that alpha depends on.
      columns: of the reward model, such as its size and the number of its pairs: beta is linear in their
        logarithms, and alpha in those of its own, so that a fit over several reward models says how a larger
        one will be.
      penalty: of d.
      written: the penalty in words.
      of: what follows the law.
    """
    parts = {
        "alpha": (slice(0, 1 + len(of_alpha)), of_alpha),
        "beta": (slice(1 + len(of_alpha), None), columns),
    }
    n = 2 + len(of_alpha) + len(columns)

    def value(theta: Array, x: Columns) -> Array:
        d = jnp.sqrt(x["kl"])
        alpha, beta = (
            theta[own][0] + sum(k * jnp.log(x[column]) for k, column in zip(theta[own][1:], names))
            for own, names in parts.values()
        )
        return d * alpha - beta * d * penalty(d)

    def unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
        theta = np.array(theta, float)
        for own, names in parts.values():
            part = theta[..., own]  # a view
            part[..., 0] -= part[..., 1:] @ np.log([units[column] for column in names])
        return theta

    linear = {part: " and ".join(f"log {column}" for column in names) for part, (_, names) in parts.items()}
    return Law(
        name=f"{name}:{','.join(columns)}" if columns else name,
        params=tuple(
            "_".join([part, *column]) for part, (_, names) in parts.items() for column in [(), *zip(names)]
        ),
        columns=("kl", *columns),
        value=value,
        unscale=unscale,
        bounds=(BOUND,) * n,
        starts=((1.0, *(0.0,) * len(of_alpha), 0.1, *(0.0,) * len(columns)),),
        prior=(FREE,) * n,
        formula=f"d (alpha - beta {written}), d = kl^0.5"
        + "".join(f"; {part} linear in {logs}" for part, logs in linear.items() if logs),
        source="Gao et al. 2022 (arXiv 2210.10760), section 3"
        + ("; figure 3 for columns" if columns else ""),
        use=f"true reward less the start's, of {of} against a proxy; {name}:reward_params over reward models",
        target="reward",
        scale="linear",
        dimensionless=("kl",),
    )


OVER_OPTIMISATION_BON, OVER_OPTIMISATION_RL = over_optimisation_bon(), over_optimisation_rl()
