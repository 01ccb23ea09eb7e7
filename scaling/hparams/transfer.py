"""Learning-rate transfer: the optimum of each size of a row, and how far it moves.

The sizes of a row share a budget of steps and differ in width or depth alone, so no law of N and D is fitted
here (`scaling.hparams.fit_hparams` does that): each optimum is the minimum of its own parabola.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scaling.profiles.parabola import fit_parabolas

MIN_RATES = 3
NEAREST = 5  # rates around the best that place the minimum; farther ones only bend the parabola


@dataclass(frozen=True)
class LrOptimum:
    """The best learning rate of one size.

    Attributes:
      lr, lo, hi, loss: minimum of the parabola, its interval, the loss there.
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

    Each is the minimum of a parabola in log lr through the log losses of the rates nearest to the best, one
    curvature for all; intervals come from the scatter about the parabolas.

    Args:
      losses: of each size, learning rate -> loss (nats per token), infinite where training diverged.
      base: index of the size whose rate the others would be given.
      level: of the intervals. seed, n_draws: of the draws behind them.

    Raises:
      ValueError: a size with fewer than three finished rates.
    """
    groups = []
    for i, sweep in enumerate(losses):
        kept = sorted((lr, loss) for lr, loss in sweep.items() if np.isfinite(loss))
        if len(kept) < MIN_RATES:
            raise ValueError(
                f"size {i} of {len(losses)}: {len(kept)} finished learning rates; "
                f"an optimum takes {MIN_RATES} at least: try lower ones"
            )
        log_lr, log_loss = np.log(np.array(kept)).T
        near = np.argsort(np.abs(log_lr - log_lr[log_loss.argmin()]), kind="stable")[:NEAREST]
        groups.append((log_lr[near], log_loss[near]))
    found = fit_parabolas(groups, n_draws, np.random.default_rng(seed), shared_curvature=True)
    optima = []
    for sweep, parabola in zip(losses, found):
        lo, hi = _interval(parabola.draws, level)
        cost = _loss_at(sweep, found[base].log_x) / min(sweep.values()) - 1
        optima.append(
            LrOptimum(
                lr=float(np.exp(parabola.log_x)),
                lo=lo,
                hi=hi,
                loss=float(np.exp(parabola.log_loss)),
                at_edge=bool(parabola.at_edge),
                base_costs=float(cost),
            )
        )
    draws = np.array([parabola.draws for parabola in found])
    lo, hi = _interval(draws.max(axis=0) - draws.min(axis=0), level)
    lrs = [optimum.lr for optimum in optima]
    return Transfer(tuple(optima), moves=max(lrs) / min(lrs), lo=lo, hi=hi)


def _interval(log_draws: np.ndarray, level: float) -> tuple[float, float]:
    """The central interval of the draws; NaN where none has a minimum."""
    known = log_draws[np.isfinite(log_draws)]
    if not len(known):
        return np.nan, np.nan
    lo, hi = np.exp(np.quantile(known, [(1 - level) / 2, (1 + level) / 2]))
    return float(lo), float(hi)


def _loss_at(sweep: Mapping[float, float], log_lr: float) -> float:
    """Loss between the rates tried; that of the nearest beyond them."""
    lrs = sorted(sweep)
    log_losses = [np.log(sweep[lr]) if np.isfinite(sweep[lr]) else 1e3 for lr in lrs]
    found = np.interp(log_lr, np.log(lrs), log_losses)
    return float(np.exp(found)) if found < 100 else np.inf
