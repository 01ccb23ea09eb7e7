"""Reward over the compute of reinforcement learning: a sigmoid in log compute from the start to a ceiling."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law

EARLY = 0.1  # share of the compute that is fitted which counts as early


def is_early(flops: np.ndarray, share: float = EARLY) -> np.ndarray:
    """Points of a curve that are left out of a fit: those below `share` of the largest compute.

    A reward moves otherwise at first, while the form of answers is learnt and learning rates rise; the paper
    leaves out about the first 1,500 GPU hours for that.
    """
    return np.asarray(flops) < share * np.max(flops)


def _value(theta: Array, x: Columns) -> Array:
    A, B, C_mid = theta
    gained = jax.nn.sigmoid(B * (jnp.log(x["flops"]) - jnp.log(C_mid)))  # 1 / (1 + (C_mid / C)^B)
    return x["start_reward"] + (A - x["start_reward"]) * gained


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    A, B, C_mid = np.moveaxis(theta, -1, 0)
    return np.stack([A, B, units["flops"] * C_mid], axis=-1)


RL_COMPUTE = Law(
    name="rl_compute",
    params=("A", "B", "C_mid"),
    columns=("flops", "start_reward"),
    value=_value,
    unscale=_unscale,
    bounds=((-1e6, 1e6), (0.02, 20.0), (1e-6, 1e6)),
    starts=tuple((1.0, B, C_mid) for B in (0.5, 1.5, 4.0) for C_mid in (0.1, 1.0, 10.0)),
    prior=(FREE, (1.5, 1.5), FREE),
    formula="R0 + (A - R0) / (1 + (C_mid / C)^B), R0 = start_reward",
    source="Khatri et al. 2025 (arXiv 2510.13786), eq. 1",
    use="reward along RL by its compute; leave out the early part (rl_compute.is_early)",
    target="reward",
    scale="linear",
    dimensionless=("start_reward",),
)
