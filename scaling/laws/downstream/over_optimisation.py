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
    return _law("over_optimisation_bon", columns, lambda d: d, "d", "best-of-n")


@cache
def over_optimisation_rl(*columns: str) -> Law:
    """Of RL, and of DPO: d (alpha - beta log d). With columns, as of `_law`; the peak is `peak_of_rl`."""
    return _law(
        "over_optimisation_rl",
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
        params[name] + sum(params[f"{name}_{column}"] * np.log(x) for column, x in columns.items())
        for name in ("alpha", "beta")
    )
    return np.asarray(alpha, float), np.asarray(beta, float)


def _law(name: str, columns: tuple[str, ...], penalty: Callable, written: str, of: str) -> Law:
    """d (alpha - beta penalty(d)) of d = kl^0.5.

    `columns` are of the reward model, such as its size and the number of its pairs: alpha and beta are then
    linear in their logarithms, so that a fit over several reward models says how a larger one will be.
    """
    n = 1 + len(columns)

    def value(theta: Array, x: Columns) -> Array:
        d = jnp.sqrt(x["kl"])
        logs = [jnp.log(x[column]) for column in columns]
        alpha, beta = (
            part[0] + sum(k * log for k, log in zip(part[1:], logs)) for part in (theta[:n], theta[n:])
        )
        return d * alpha - beta * d * penalty(d)

    def unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
        theta = np.array(theta, float)
        logs = np.log([units[column] for column in columns])
        for first in (0, n):
            theta[..., first] -= theta[..., first + 1 : first + n] @ logs
        return theta

    by = " and ".join(f"log {column}" for column in columns)
    return Law(
        name=f"{name}:{','.join(columns)}" if columns else name,
        params=tuple(
            "_".join([part, *column]) for part in ("alpha", "beta") for column in [(), *zip(columns)]
        ),
        columns=("kl", *columns),
        value=value,
        unscale=unscale,
        bounds=(BOUND,) * (2 * n),
        starts=((1.0, *(0.0,) * (n - 1), 0.1, *(0.0,) * (n - 1)),),
        prior=(FREE,) * (2 * n),
        formula=f"d (alpha - beta {written}), d = kl^0.5" + (f"; both linear in {by}" if columns else ""),
        source="Gao et al. 2022 (arXiv 2210.10760), section 3"
        + ("; figure 3 for columns" if columns else ""),
        use=f"true reward less the start's, of {of} against a proxy; {name}:reward_params over reward models",
        target="reward",
        scale="linear",
        dimensionless=("kl",),
    )


OVER_OPTIMISATION_BON, OVER_OPTIMISATION_RL = over_optimisation_bon(), over_optimisation_rl()
