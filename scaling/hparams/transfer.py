"""Learning-rate transfer: the optimum of each size of a row, and how far it moves.

The sizes of a row share a budget of steps and differ in width or depth alone, so no law of N and D is fitted
here (`scaling.hparams.fit_hparams` does that). The optima are found in the same way (`sweep_optima`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scaling.hparams.sweep_optima import sweep_optima
from scaling.hparams.sweeps import MIN_SETTINGS


@dataclass(frozen=True)
class LrOptimum:
    """The best learning rate of one size.

    Attributes:
      lr, lo, hi, loss: minimum of the loss surface, its interval, the loss there (nats per token).
      at_edge: only a bound, the rates tried do not bracket it.
      base_costs: loss at the base size's best rate / best loss measured - 1, along straight lines in log-log
        between the rates tried; infinite where training diverges.
    """

    lr: float
    lo: float
    hi: float
    loss: float
    at_edge: bool
    base_costs: float


@dataclass(frozen=True)
class Transfer:
    """Optima of one row of sizes, and the factor between the largest and the smallest, with its interval."""

    optima: tuple[LrOptimum, ...]
    moves: float
    lo: float
    hi: float


def transfer(
    losses: Sequence[Mapping[float, float]],
    base: int,
    level: float = 0.9,
    seed: int = 0,
    n_draws: int = 1000,
) -> Transfer:
    """The optima of sweeps, one a size.

    All sizes share the form of log loss around the optimum, whose two sides may differ in steepness.

    Args:
      losses: of each size, learning rate -> loss (nats per token), infinite where training diverged.
      base: index of the size whose rate the others would be given.
      level: of the intervals. seed, n_draws: of the draws behind them.

    Raises:
      ValueError: a size with fewer than three finished rates.
    """
    sweeps = []
    for i, sweep in enumerate(losses):
        kept = sorted((lr, loss) for lr, loss in sweep.items() if np.isfinite(loss))
        if len(kept) < MIN_SETTINGS:
            raise ValueError(
                f"size {i} of {len(losses)}: {len(kept)} finished learning rates; "
                f"an optimum takes {MIN_SETTINGS} at least: try lower ones"
            )
        log_lr, log_loss = np.log(np.array(kept)).T
        sweeps.append((log_lr[:, None], log_loss))
    found, surfaces = sweep_optima(sweeps, level, n_draws, np.random.default_rng(seed))
    optima = [
        LrOptimum(
            lr=float(np.exp(optimum.setting[0])),
            lo=float(np.exp(optimum.lo[0])),
            hi=float(np.exp(optimum.hi[0])),
            loss=float(np.exp(optimum.log_loss)),
            at_edge=bool(optimum.at_edge[0]),
            base_costs=_loss_at(sweep, found[base].setting[0]) / min(sweep.values()) - 1,
        )
        for sweep, optimum in zip(losses, found)
    ]
    moved = np.ptp(surfaces.centres[..., 0], axis=1)
    lo, hi = np.exp(np.quantile(moved, [(1 - level) / 2, (1 + level) / 2]))
    lrs = [optimum.lr for optimum in optima]
    return Transfer(tuple(optima), moves=max(lrs) / min(lrs), lo=float(lo), hi=float(hi))


def _loss_at(sweep: Mapping[float, float], log_lr: float) -> float:
    """Loss between the rates tried; that of the nearest beyond them."""
    lrs = sorted(sweep)
    log_losses = [np.log(sweep[lr]) if np.isfinite(sweep[lr]) else 1e3 for lr in lrs]
    found = np.interp(log_lr, np.log(lrs), log_losses)
    return float(np.exp(found)) if found < 100 else np.inf
