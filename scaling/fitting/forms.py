"""Forecasts by several forms of a law, mixed: within the runs they agree, and far beyond them they do not.

Which form holds at a hundred times the compute, a fit cannot say: all fit. So forms are weighed by what they
predict of runs that they have not seen: the table is cut at several budgets, every form is fitted below the
cut and scored above it by the logarithm of the density that its forecast gives to what was measured. Runs of
like compute share what a law is off by, so an octave of compute counts as one observation (pseudo-BMA: Yao
et al. 2018, arXiv 1704.02030, section 3.4). At each new run a form also counts by its precision there. The
mixture's variance is that of its parts and that between them: the interval widens as the forms part. Its
lower end also heeds forms that count little: how much less those of low floor expect, the runs do not tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from scaling import laws
from scaling.fitting.model_discrepancy import locations
from scaling.fitting.uncertainty import Forecast, forecast, interval
from scaling.laws import Law

CUTS = (0.4, 0.6, 0.8)  # shares of the runs, in order of compute, that forms are fitted to
BEYOND = 1.5  # scored are runs of this many times the compute of the cut, or more
LEAST_RUNS, LEAST_HELD_OUT = 9, 2  # distinct, below a cut and above it
ROUNDS = 2  # of a fit below a cut, which begins where the fit to all runs ended
FIRST = 256.0  # a priori the first form, whose prior public tables have seen, counts as so many of the others


@dataclass(frozen=True, eq=False)
class Forms:
    """Forecasts by several forms from the same runs, and their weights.

    Attributes:
      forecasts: the first is the one whose parameters are reported and whose best sizes are taken.
      weights: of the forms, positive, summing to 1 [forms].
    """

    forecasts: tuple[Forecast, ...]
    weights: np.ndarray

    def predict(self, x: Mapping[str, np.ndarray], level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Forecast.predict`, of the mixture: the interval is Student's t of its mean and variance, with
        as many degrees of freedom as the first form leaves of its runs."""
        mean, variance, less = self._moments(x)
        first = self.forecasts[0]
        law, dof = laws.find(first.law, run_files=False), max(len(first.y) - len(first.center), 2)
        width = float(special.stdtrit(dof, (1 + level) / 2))
        off, below = first.beyond(law, x, less)
        return interval(first, law, mean, variance + off, below, width)

    def less(self, x: Mapping[str, np.ndarray]) -> np.ndarray:
        """How much less than the first form the others expect, on average, at each row of `x`, on the law's
        scale; one that expects more counts as 0."""
        return self._moments(x)[2]

    def _moments(self, x: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(mean, variance within the forms and between them, `less`) [rows]."""
        found = [known.moments(laws.find(known.law, run_files=False), x) for known in self.forecasts]
        means, variances = (np.array(moment) for moment in zip(*found))
        shares = self.weights[:, None] / variances
        shares = shares / shares.sum(axis=0)
        mean = np.sum(shares * means, axis=0)
        variance = np.sum(shares * (variances + (means - mean) ** 2), axis=0)
        return mean, variance, np.maximum(means[0] - means[1:], 0.0).mean(axis=0)

    def to_json(self) -> dict[str, Any]:
        """Plain values but for the first forecast, which the fit saves."""
        others = [known.to_json() for known in self.forecasts[1:]]
        return {"weights": self.weights.tolist(), "others": others}

    @staticmethod
    def from_json(content: Mapping[str, Any], first: Forecast) -> "Forms":
        others = [Forecast.from_json(saved) for saved in content["others"]]
        return Forms((first, *others), np.asarray(content["weights"], float))


def mixed(first: Forecast, others: Sequence[Law], x: Mapping[str, np.ndarray], y: np.ndarray) -> Forms:
    """The mixture of a forecast with those by other forms.

    Args:
      first: from these runs; others: forms of the same columns, of errors on the same scale.
      x: columns [rows], y: the target on that scale [rows]; both in units of the data, those of `first`.
    """
    rng = np.random.default_rng(0)  # of no draws
    known = (first, *[forecast(form, x, y, first.units, 0, rng) for form in others])
    scores = [_scores(each, x, y) for each in known]
    total = np.sum(scores, axis=1)
    weights = np.exp(total - total.max()) * np.where(np.arange(len(known)) == 0, FIRST, 1.0)
    return Forms(known, weights / weights.sum())


def _scores(known: Forecast, x: Mapping[str, np.ndarray], y: np.ndarray) -> np.ndarray:
    """Mean log densities of what was measured, an octave of held-out compute each [octaves]."""
    form, units = laws.find(known.law), {name: 1.0 for name in known.units}
    at = locations(form, x)
    assert at is not None  # forms beside others have sizes and tokens
    compute, scores = at[:, 0], {}
    for cut in np.unique(np.quantile(compute, CUTS)):
        below, above = compute <= cut + 1e-9, compute >= cut + np.log10(BEYOND)
        if len(np.unique(at[below], axis=0)) < LEAST_RUNS or above.sum() < LEAST_HELD_OUT:
            continue
        smaller, larger = ({name: column[rows] for name, column in x.items()} for rows in (below, above))
        fitted = forecast(form, smaller, y[below], units, 0, np.random.default_rng(0), known.center, ROUNDS)
        mean, variance = fitted.moments(form, larger)
        density = log_density(y[above] - mean, np.sqrt(variance), fitted.dof)
        octaves = np.round(compute[above] / np.log10(2))
        for octave in np.unique(octaves):
            scores.setdefault(octave, []).append(density[octaves == octave].mean())
    return np.array([np.mean(found) for found in scores.values()])


def log_density(error: np.ndarray, spread: np.ndarray, dof: float) -> np.ndarray:
    """Of Student's t at errors whose scale is `spread`, as forecasts have it; any shape."""
    norm = special.gammaln((dof + 1) / 2) - special.gammaln(dof / 2) - 0.5 * np.log(dof * np.pi)
    return norm - (dof + 1) / 2 * np.log1p((error / spread) ** 2 / dof) - np.log(spread)
