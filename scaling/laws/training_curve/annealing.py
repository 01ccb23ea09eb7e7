"""The annealing law: a whole loss curve from the area under its learning rates and how they fell."""

from collections.abc import Mapping
from itertools import accumulate

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def annealing_columns(lr: np.ndarray, steps: np.ndarray, momentum: float = 0.999) -> pd.DataFrame:
    """The columns of the annealing law for the measured points of one run.

    `lr_sum` is S1, the learning rates summed up to the step, warmup included. `annealed` is S2 / S1, where
    S2 sums the falls of the rate since its first maximum, each felt with `momentum` (the paper's lambda) at
    the steps that follow it.

    Args:
      lr: [n_steps] learning rate of every update, from the first (of a rate logged now and then:
        np.interp(np.arange(1, last + 1), logged_steps, logged_lr)).
      steps: [rows] how many updates had been made at each measurement.

    Raises:
      ValueError: a rate is negative or not finite, or a step lies outside the schedule.
    """
    lr, steps = check_schedule(lr, steps)
    fall = np.where(np.arange(len(lr)) > lr.argmax(), -np.diff(lr, prepend=lr[0]), 0.0)
    decayed = accumulate(fall, lambda before, now: momentum * before + now)
    felt = np.fromiter(decayed, float, len(lr))
    forward, annealing = np.cumsum(lr)[steps - 1], np.cumsum(felt)[steps - 1]
    return pd.DataFrame({"lr_sum": forward, "annealed": annealing / forward})


def check_schedule(lr: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lr as float, steps as int); raises ValueError, see `annealing_columns`."""
    lr, steps = np.asarray(lr, float), np.asarray(steps)
    if lr.ndim != 1 or not np.all(np.isfinite(lr) & (lr >= 0)) or not np.any(lr > 0):
        raise ValueError("lr must be a row of finite rates, none negative, one positive: one for each update")
    wrong = steps[~((steps >= 1) & (steps <= len(lr)) & (steps == np.floor(steps)))]
    if len(wrong):
        raise ValueError(
            f"step {wrong[0]}: steps must be whole numbers from 1 to {len(lr)}, the updates made"
        )
    steps = steps.astype(int)
    if lr[: steps.min()].sum() == 0:
        raise ValueError(f"step {steps.min()}: no rate up to it is positive, so nothing was learnt")
    return lr, steps


def _annealing(theta: Array, x: Columns) -> Array:
    L0, A, C, alpha = theta
    return L0 + A * jnp.exp(-alpha * jnp.log(x["lr_sum"])) - C * x["lr_sum"] * x["annealed"]


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    L0, A, C, alpha = np.moveaxis(theta, -1, 0)
    s, loss = units["lr_sum"], units["loss"]
    return np.stack([loss * L0, loss * A * s**alpha, loss * C / s, alpha], axis=-1)


ANNEALING = Law(
    name="annealing",
    params=("L0", "A", "C", "alpha"),
    columns=("lr_sum", "annealed"),
    value=_annealing,
    unscale=_unscale,
    bounds=((0.0, 1.0), (0.0, 50.0), (0.0, 50.0), (0.01, 4.0)),
    starts=tuple((l0, 0.3, 0.1, alpha) for l0 in (0.5, 0.8) for alpha in (0.2, 0.5, 1.0)),
    prior=((0.8, 0.2), FREE, FREE, (0.5, 0.3)),
    formula="L0 + A / S1^alpha - C S2, S1 = lr_sum, S2 = lr_sum * annealed",
    source="Tissue et al. 2024 (arXiv 2408.11029), eq. 1",
    use="whole curves of one model, any schedule; columns by "
    "scaling.laws.training_curve.annealing.annealing_columns",
    dimensionless=("annealed",),
)
