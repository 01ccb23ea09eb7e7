"""The optimum of each sweep, with its uncertainty: the one way in which best settings are found here.

Every sweep has an optimum of its own; all share the form of the loss around it, so that a sweep of three
settings has one, too (`scaling.hparams.fit_surface`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scaling.hparams.fit_surface import FittedSurfaces, LawPrior, fit_surfaces
from scaling.hparams.loss_surface import above_minimum

REACH = 2.0  # standard deviation, in log units, of an optimum about the middle of what was tried


class SweepOptimum(NamedTuple):
    """The best setting of one sweep over a axes, as logs.

    Attributes:
      setting, lo, hi [a]: the minimum of its surface, or the last value tried before it; its interval.
      at_edge bool[a]: the values tried do not bracket the minimum, so it is only a bound.
      log_loss: of the surface at `setting`.
    """

    setting: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    at_edge: np.ndarray
    log_loss: float


def sweep_optima(
    sweeps: Sequence[tuple[np.ndarray, np.ndarray]], level: float, n_draws: int, rng: np.random.Generator
) -> tuple[list[SweepOptimum], FittedSurfaces]:
    """The optimum of each sweep, and the surfaces they are the minima of.

    Args:
      sweeps: (log settings [k, a], log loss [k]) of each; three settings at least.
      level: of the intervals, a share between 0 and 1.
      n_draws: of the posterior that the intervals are read off.
      rng: for the draws.
    """
    centre = sweep_centre(sweeps)
    own = LawPrior(mean=centre[None], sd=np.full((1, len(centre)), REACH), scatter=REACH)
    found = fit_surfaces(sweeps, np.ones((len(sweeps), 1)), own, n_draws, rng)
    lo, hi = np.quantile(found.centres, [(1 - level) / 2, (1 + level) / 2], axis=0)
    optima = []
    for i, (z, _) in enumerate(sweeps):
        first, last = z.min(axis=0), z.max(axis=0)
        best = np.clip(found.centre[i], first, last)
        at_edge = ~((first < found.centre[i]) & (found.centre[i] < last))
        sharpness = np.exp(found.log_sharpness[i])
        above = above_minimum(best - found.centre[i], sharpness * found.curvature, sharpness * found.skew)
        optima.append(SweepOptimum(best, lo[i], hi[i], at_edge, float(found.height[i] + above)))
    return optima, found


def sweep_centre(sweeps: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The middle of the log settings tried, averaged over sweeps [a]."""
    return np.mean([(z.min(axis=0) + z.max(axis=0)) / 2 for z, _ in sweeps], axis=0)
