"""The multi-power law: a whole loss curve from the learning rates, every fall with its own power law."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from scaling.laws.law import FREE, Columns, Law
from scaling.laws.training_curve.annealing import check_schedule

PARTS = 8  # groups of falls, by how long ago they were: within 1e-4 nats of every fall by itself
DROPS, RATES, SINCES = ([f"{name}_{k}" for k in range(PARTS)] for name in ("drop", "rate", "since"))


def multi_power_columns(lr: np.ndarray, steps: np.ndarray) -> pd.DataFrame:
    """The columns of the multi-power law for the measured points of one run.

    `lr` is the peak rate and `lr_sum` the sum of rates up to the step, warmup included. The falls of the rate
    before a step are put into groups, fine for recent ones: `drop_k` is a group's fall and `rate_k` the rate
    after it, both as shares of the peak; `since_k` is the sum of rates since, as a share of lr_sum.

    Args:
      lr: [n_steps] learning rate of every update, from the first.
      steps: [rows] how many updates had been made at each measurement.

    Raises:
      ValueError: a rate is negative or not finite, rises again after its maximum, or a step lies outside.
    """
    lr, steps = check_schedule(lr, steps)
    peak, at_peak = lr.max(), int(lr.argmax())
    fall = -np.diff(lr, prepend=lr[0])
    fall[: at_peak + 1] = 0.0
    if fall.min() < -1e-9 * peak:
        again = int((fall < -1e-9 * peak).argmax()) + 1
        raise ValueError(
            f"lr rises again at update {again}: the multi-power law cannot have that, the annealing law can"
        )
    falls = np.flatnonzero(fall > 0)
    total = np.cumsum(lr)
    before = total[falls] - lr[falls]
    rate = np.maximum(lr[falls], lr[lr > 0].min()) / peak  # at a rate of 0 nothing is learnt since
    rows = [
        _groups(fall[falls[seen]] / peak, rate[seen], (total[t - 1] - before[seen]) / total[t - 1])
        for t in steps
        for seen in [falls < t]
    ]
    table = pd.DataFrame(np.array(rows), columns=[*DROPS, *RATES, *SINCES])
    table.insert(0, "lr", peak)
    table.insert(1, "lr_sum", total[steps - 1])
    return table


def _groups(drop: np.ndarray, rate: np.ndarray, since: np.ndarray) -> np.ndarray:
    """[3 PARTS] summed drops, and geometric means of rates and sinces, of the falls before one step."""
    since = np.maximum(since, 1e-9)
    group = np.minimum((PARTS * np.cbrt(since / since.max(initial=1e-9))).astype(int), PARTS - 1)
    total = np.bincount(group, drop, PARTS)
    means = [
        np.bincount(group, drop * np.log(v), PARTS) / np.where(total > 0, total, 1) for v in (rate, since)
    ]
    return np.concatenate([total, *np.exp(means)])


def _multi_power(theta: Array, x: Columns) -> Array:
    L0, A, B, C, alpha, beta, gamma = theta
    drop, rate, since = (jnp.stack([x[name] for name in names]) for names in (DROPS, RATES, SINCES))
    grown = C * x["lr_sum"] * since * jnp.exp(-gamma * jnp.log(x["lr"] * rate))
    gained = jnp.sum(drop * (1 - jnp.exp(-beta * jnp.log(1 + grown))), axis=0)
    return L0 + A * jnp.exp(-alpha * jnp.log(x["lr_sum"])) - B * x["lr"] * gained


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    L0, A, B, C, alpha, beta, gamma = np.moveaxis(theta, -1, 0)
    s, lr, loss = units["lr_sum"], units["lr"], units["loss"]
    A, B, C = loss * A * s**alpha, loss * B / lr, C * lr**gamma / s
    return np.stack([loss * L0, A, B, C, alpha, beta, gamma], axis=-1)


# The gain of a fall grows by a power law of the learning that follows, where annealing's grows at one pace.
# The authors' code counts the warmup's rise as a negative fall, so its L0 is lower by about B * peak.
MULTI_POWER = Law(
    name="multi_power",
    params=("L0", "A", "B", "C", "alpha", "beta", "gamma"),
    columns=("lr", "lr_sum", *DROPS, *RATES, *SINCES),
    value=_multi_power,
    unscale=_unscale,
    bounds=((0.0, 1.0), (0.0, 50.0), (0.0, 50.0), (1e-2, 1e6), (0.01, 4.0), (0.01, 5.0), (0.0, 3.0)),
    starts=tuple((0.8, 0.3, 0.1, c, alpha, 0.5, 0.5) for c in (30.0, 1e3) for alpha in (0.3, 0.6, 1.0)),
    prior=((0.8, 0.2), FREE, FREE, FREE, (0.5, 0.3), (0.5, 0.3), (0.5, 0.3)),
    formula="L0 + A / S1^alpha - B sum_k drop_k (1 - (1 + C S_k / rate_k^gamma)^-beta), S_k the sum since",
    source="Luo et al. 2025 (arXiv 2503.12811), eq. 1",
    use="sharper, for schedules that only fall; columns by "
    "scaling.laws.training_curve.multi_power.multi_power_columns",
    dimensionless=(*DROPS, *RATES, *SINCES),
)
