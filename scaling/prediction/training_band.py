"""The band of a run in training: the loss and the norm of the gradient that are to be expected on its way.

The curves of finished runs of its recipe foretell its own in units of its final loss
(scaling/prediction/run_curves.py), and that final loss was predicted, or is read off the same runs here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from scaling.prediction.collapse import Collapse
from scaling.prediction.run_curves import (
    FRACTIONS,
    Expected,
    RunCurve,
    above_final,
    foretold,
    limit,
)

EXPONENTS = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0])  # of size and of tokens, that are tried
DRIFT = 0.02  # of log loss, a decade of compute beyond the largest run: what no law of it knows


@dataclass(frozen=True)
class Quantity:
    """The expected course of the loss, or of the norm of the gradient.

    Attributes:
      expected: logarithm, with its standard deviation, at FRACTIONS.
      limit: standard deviations from it that no run behind it has come to, seen from the others.
    """

    name: str
    expected: Expected
    limit: float

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """The interval of one measurement at each of FRACTIONS."""
        return self._ends(float(stdtrit(self.expected.dof, (1 + level) / 2)))

    def _ends(self, deviations: float) -> tuple[np.ndarray, np.ndarray]:
        half = deviations * self.expected.spread
        return np.exp(self.expected.mean - half), np.exp(self.expected.mean + half)

    def departure(self, measured: np.ndarray) -> str:
        """Where the run was outside last, in words; "" if nowhere.

        Args:
          measured: logarithms at FRACTIONS, NaN where the run has not come to.
        """
        deviations = np.nan_to_num((measured - self.expected.mean) / self.expected.spread)
        if not len(outside := np.flatnonzero(np.abs(deviations) > self.limit)):
            return ""
        at = int(outside[-1])
        low, high = (end[at] for end in self._ends(self.limit))
        return (
            f"{self.name} {np.exp(measured[at]):.3f} at {FRACTIONS[at]:.0%} of the run, and no sound run is "
            f"outside {low:.3f} to {high:.3f}"
        )

    def state(self, measured: np.ndarray, at: int, level: float) -> str:
        """What was measured at one of FRACTIONS, with its interval, in words."""
        low, high = (end[at] for end in self.interval(level))
        return f"{self.name} {np.exp(measured[at]):.3f} (expected {low:.3f} to {high:.3f})"


@dataclass(frozen=True)
class TrainingBand:
    """What is to be expected of a run, by so many finished ones.

    Attributes:
      loss: of training; grad_norm: None where it was not measured.
      final: logarithm of the validation loss at the end, with its standard deviation.
    """

    loss: Quantity
    grad_norm: Quantity | None
    final: Expected
    n_runs: int

    def warning(self, run: RunCurve) -> str:
        """One line if the run has left its band, else ""."""
        found = [quantity.departure(measured) for quantity, measured in self._pairs(run)]
        return "; ".join(each for each in found if each)

    def state(self, run: RunCurve, level: float) -> str:
        """Where the run is, and where it is expected to end, with intervals at `level`."""
        half = float(stdtrit(self.final.dof, (1 + level) / 2)) * self.final.spread
        middle, low, high = np.exp(self.final.mean + np.array([0, -half, half]))
        end = f"final loss expected {middle:.3f} ({low:.3f} to {high:.3f})"
        if not len(come := np.flatnonzero(np.isfinite(run.loss))):
            return end
        at = int(come[-1])
        now = ", ".join(quantity.state(measured, at, level) for quantity, measured in self._pairs(run))
        return f"at {FRACTIONS[at]:.0%} {now}; {end}"

    def table(self, run: RunCurve, level: float) -> list[dict[str, Any]]:
        """A row for each quantity and each of FRACTIONS: quantity, fraction, lo, hi, measured (or NaN)."""
        return [
            {"quantity": quantity.name, "fraction": float(at), "lo": float(low), "hi": float(high)}
            | {"measured": float(np.exp(value))}
            for quantity, measured in self._pairs(run)
            for at, low, high, value in zip(FRACTIONS, *quantity.interval(level), measured)
        ]

    def _pairs(self, run: RunCurve) -> list[tuple[Quantity, np.ndarray]]:
        norm = [(self.grad_norm, run.grad_norm)] if self.grad_norm else []
        return [(self.loss, run.loss), *norm]


def training_band(
    recipe: Collapse,
    n_params: float,
    n_tokens: float,
    final: tuple[float, float, float, float] | None = None,
) -> TrainingBand | None:
    """The band of a run; None where the finished runs are of no one recipe.

    A run that is as good as they are leaves it with a chance of about 1 in their number, for each quantity.

    Args:
      recipe: the finished runs that it follows.
      n_params: of the run.
      n_tokens: of the whole run.
      final: (predicted final loss, lower and upper end, level) where it was predicted before.
    """
    if not recipe.holds:
        return None
    runs, dof = recipe.runs, len(recipe.runs) - 3
    at, places = np.log([n_params, n_tokens]), np.array([run.place for run in runs])
    if final:
        predicted, low, high, level = final
        spread = np.log(high / low) / 2 / stdtrit(dof, (1 + level) / 2)
        end = Expected(np.log(predicted), spread, dof)
    else:
        end = final_loss(places, np.array([run.final for run in runs]), at)
    shape, least = foretold(places, above_final(runs), at), limit(dof, len(FRACTIONS))
    loss = Expected(end.mean + shape.mean, np.hypot(end.spread, shape.spread), dof)
    norm = None
    if np.isfinite(recipe.norms_furthest):
        norms = foretold(places, np.array([run.grad_norm for run in runs]), at)
        norm = Quantity("gradient norm", norms, max(recipe.norms_furthest, least))
    whole = Quantity("training loss", loss, max(recipe.furthest, least))
    return TrainingBand(whole, norm, end, len(runs))


def final_loss(places: np.ndarray, final: np.ndarray, at: np.ndarray) -> Expected:
    """The logarithm of the final loss by Chinchilla's law.

    E + A N^-alpha + B D^-beta is linear in E, A and B: they are solved for at each pair of EXPONENTS, and the
    pairs are weighted by how well they fit (`scaling.fit` does it thoroughly, and takes seconds).

    Args:
      places: [runs, 2], see `RunCurve.place`; final: [runs] nats per token; at: [2].
    """
    n = len(places)
    alpha, beta = (grid.ravel() for grid in np.meshgrid(EXPONENTS, EXPONENTS))
    rows = np.vstack([places, at]) - places.min(axis=0)
    terms = np.stack(
        [np.ones((len(alpha), n + 1)), *(np.exp(-e[:, None] * x) for e, x in zip((alpha, beta), rows.T))], -1
    )
    relative = terms[:, :n] / final[:, None]
    inverse = np.linalg.inv(np.einsum("gni,gnj->gij", relative, relative) + 1e-9 * np.eye(3))
    theta = np.einsum("gij,gnj->gi", inverse, relative)
    misfit = np.square(1 - np.einsum("gni,gi->gn", relative, theta)).sum(axis=1)
    possible = (theta >= 0).all(axis=1) if (theta >= 0).all(axis=1).any() else np.ones(len(theta), bool)
    weight = np.where(possible, (misfit / misfit[possible].min()) ** (-n / 2), 0.0)
    weight /= weight.sum()
    value = np.einsum("gi,gi->g", terms[:, n], theta)
    doubt = np.einsum("gi,gij,gj->g", terms[:, n], inverse, terms[:, n]) / value**2
    logs = np.log(np.maximum(value, 1e-9))
    mean = weight @ logs
    noise = misfit / max(n - 5, 1) * (1 + doubt) + (logs - mean) ** 2
    decades = max(0.0, (at.sum() - places.sum(axis=1).max()) / np.log(10))
    return Expected(mean, np.sqrt(weight @ noise + (DRIFT * decades) ** 2), n - 3)
