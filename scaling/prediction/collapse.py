"""Do the curves of a recipe collapse onto one? A run whose curve does not was made by another recipe.

A learning rate that is wrong at one size, a schedule that is not that of the others, a loss that rises late:
each shows in how a curve falls to its own end long before larger runs are paid for (Qiu et al. 2025,
arXiv 2507.02119, section 4). Compare runs of one recipe alone, of each size and length the best setting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling.prediction.run_curves import FEWEST, FRACTIONS, MOST, RunCurve, above_final, limit, off_by


@dataclass(frozen=True)
class Broken:
    """A curve that does not collapse onto the others.

    Attributes:
      fraction: of its run, where it is furthest off.
      off: its loss over its final loss there, as a factor of what the others foretell.
      deviations: the same in standard deviations of what they foretell.
    """

    curve: RunCurve
    fraction: float
    off: float
    deviations: float

    def __str__(self) -> str:
        side = "above" if self.off > 1 else "below"
        return (
            f"{self.curve.run_id}, N = {self.curve.n_params:.3g}, D = {self.curve.n_tokens:.3g}: at "
            f"{self.fraction:.0%} of the run its loss, as a multiple of its final loss, is "
            f"{abs(self.off - 1):.1%} {side} what theirs foretell"
        )


def comparable(curves: Sequence[RunCurve]) -> list[RunCurve]:
    """The finished and whole ones: of those of one size and length the lowest, of too many the largest."""
    best: dict[tuple[float, float], RunCurve] = {}
    for curve in curves:
        if np.isfinite(curve.final) and curve.final > 0 and np.isfinite(curve.loss).all():
            at = (curve.n_params, curve.n_tokens)
            if at not in best or curve.final < best[at].final:
                best[at] = curve
    return sorted(best.values(), key=lambda curve: curve.n_params * curve.n_tokens)[-MOST:]


@dataclass(frozen=True)
class Collapse:
    """Finished runs of one recipe, by whether their curves collapse.

    Attributes:
      runs: those whose curves do; broken: the others, the furthest off first.
      furthest: that any of `runs` is from what the others foretell, in standard deviations.
      norms_furthest: the same of the norms of gradients; NaN where not all of them were measured.
    """

    runs: tuple[RunCurve, ...]
    broken: tuple[Broken, ...]
    furthest: float
    norms_furthest: float

    @property
    def holds(self) -> bool:
        """Whether the broken ones are exceptions: where they are a third, there is no one recipe."""
        return 2 * len(self.broken) < len(self.runs)

    def lines(self) -> list[str]:
        """What is wrong, a line each; [] where all collapse."""
        if self.holds:
            return [
                f"a curve does not collapse onto the others of its recipe: {each}" for each in self.broken
            ]
        n = len(self.runs) + len(self.broken)
        return [f"curves of one recipe do not collapse: {len(self.broken)} of {n} go their own way"]


def collapse(curves: Sequence[RunCurve], chance: float = 0.05) -> Collapse | None:
    """Tells the curves that do not collapse from the rest, each judged without those further off than it.

    None for FEWEST curves or fewer, of which nothing can be said.

    Args:
      curves: of one recipe; those that are not `comparable` are left out.
      chance: that any curve is called broken where all are sound.
    """
    left, found = comparable(curves), []
    while len(left) > FEWEST:
        off, deviations = off_by(left, above_final(left))
        run, at = np.unravel_index(np.abs(deviations).argmax(), off.shape)
        furthest = abs(deviations[run, at])
        if furthest <= limit(len(left) - 4, off.size, chance):
            return Collapse(tuple(left), tuple(found), float(furthest), _norms_furthest(left))
        factor, fraction = float(np.exp(off[run, at])), float(FRACTIONS[at])
        found.append(Broken(left.pop(int(run)), fraction, factor, float(deviations[run, at])))
    return Collapse(tuple(left), tuple(found), np.inf, np.nan) if found else None


def _norms_furthest(runs: Sequence[RunCurve]) -> float:
    norms = np.array([run.grad_norm for run in runs])
    return float(np.abs(off_by(runs, norms)[1]).max()) if np.isfinite(norms).all() else np.nan
