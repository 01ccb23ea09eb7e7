"""Uncertainty: resampling of runs, and the forecast of the measured loss of a new, larger run.

Four things make a new run differ from the law's line, and a forecast's interval holds them all. The
parameters are known only roughly. A run repeated with another seed ends elsewhere: its noise is read off the
residuals. No law is exactly true: forecasts use the law's relaxed form, where what the law ties together may
differ within a prior, and what even that is off by; see scaling/fitting/model_discrepancy.py. And it is
further off where no run has been; see scaling/fitting/reach.py.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import special

from scaling.fitting.model_discrepancy import (
    RIDGE,
    ModelDiscrepancy,
    covariance,
    decades,
    estimate_discrepancy,
    locations,
)
from scaling.fitting.reach import distance, floorless, unrelaxed, unseen
from scaling.fitting.solver import Prior, levenberg_marquardt
from scaling.laws import Law
from scaling.laws.law import linearised

MAX_GROUPS = 200  # of runs that a forecast tells apart; more rows are averaged with their neighbours …
MAX_ALONE = 1000  # … and so many where the law's errors are not correlated, which takes less time
EXCESS = 0.04  # a run whose log loss is this far above that of a cheaper one counts half
SAME_COST = 1.05  # runs whose compute differs by less cost the same
OUTLIER = 2.5  # standard deviations of noise, read off the median error, beyond which a run counts less
NOISE_FLOOR = 1e-6
ROUNDS = 4
TAILS = 8  # degrees of freedom of Student's t: the discrepancy's strengths are themselves estimates


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is known of a law and of what lies around it, for predictions.

    Attributes:
      law: name of the form used.
      theta: its most probable parameters [params]; samples: draws of them [draws, params], draws may be 0.
      noise: standard deviation of a run's error, on the law's scale (log loss).
      dof: degrees of freedom of the interval.
      units: of the law's columns and target, in which all below is measured.
      center, covariance: theta in those units [params], and its covariance [params, params].
      discrepancy: what the law is off by; None for a law without a place for compute.
      x, y, spread: the runs, averaged in groups: columns, target and noise over `noise` [groups].
    """

    law: str
    theta: np.ndarray
    samples: np.ndarray
    noise: float
    dof: float
    units: dict[str, float]
    center: np.ndarray
    covariance: np.ndarray
    discrepancy: ModelDiscrepancy | None
    x: dict[str, np.ndarray]
    y: np.ndarray
    spread: np.ndarray

    def predict(
        self, law: Law, x: Mapping[str, np.ndarray], level: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The target, and both ends of the interval for one new run, at each row of `x`.

        The ends are NaN without draws."""
        width = special.stdtrit(self.dof, (1 + level) / 2)
        mean, variance = self.moments(law, x)
        off, below = self.beyond(law, x)
        return interval(self, law, mean, variance + off, below, float(width))

    def beyond(
        self, law: Law, x: Mapping[str, np.ndarray], less: np.ndarray | float = np.inf
    ) -> tuple[np.ndarray, np.ndarray]:
        """Variances at each row of `x` besides that of `moments`, on the law's scale: (of any loss, since the
        law is not relaxed; of a loss below the mean besides: see `reach.floorless`), both [rows]."""
        x, places = self._places(law, x)
        if law.target != "loss" or places is None:
            none = np.zeros(len(x[law.columns[0]]))
            return none, none
        away = distance(*map(decades, places))
        return unrelaxed(away) ** 2 * (law.relaxed is not None), floorless(away, less) ** 2

    def moments(self, law: Law, x: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(mean, variance) of one new run at each row of `x`, on the law's scale, in units of the data."""
        x, places = self._places(law, x)
        middle, slopes = linearised(law, self.center, x)
        variance = np.full(len(middle), self.noise**2)
        if self.discrepancy and places:
            at, here = places
            across = self.discrepancy.between(at, here)
            known = covariance(self.discrepancy, here, self.noise * self.spread)
            weights = np.linalg.solve(known, across.T).T
            fitted, seen = linearised(law, self.center, self.x)
            middle = middle + weights @ (self.y - fitted)
            slopes = slopes - weights @ seen
            whole = np.array([self.discrepancy.between(place[None], place[None])[0, 0] for place in at])
            variance = variance + np.maximum(whole - np.sum(weights * across, axis=1), 0.0)
            variance = variance + unseen(distance(decades(at), decades(here))) ** 2
        of_parameters = np.einsum("ij,jk,ik->i", slopes, self.covariance, slopes)
        return middle, variance + np.maximum(of_parameters, 0.0)  # below 0 by rounding alone

    def _places(
        self, law: Law, x: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], tuple[np.ndarray, np.ndarray] | None]:
        """(`x` in units of the data; `locations` of it and of the runs, None without a discrepancy there)."""
        x = {name: np.asarray(x[name], float) / self.units[name] for name in law.columns}
        at, here = locations(law, x), locations(law, self.x)
        if self.discrepancy is None or at is None or here is None:
            return x, None
        return x, (at, here)

    def to_json(self) -> dict[str, Any]:
        arrays = {name: value.tolist() for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        x = {name: column.tolist() for name, column in self.x.items()}
        error = asdict(self.discrepancy) if self.discrepancy else None
        return {**vars(self), **arrays, "x": x, "discrepancy": error}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Forecast":
        arrays: dict[str, np.ndarray] = {
            name: np.asarray(value, float) for name, value in content.items() if isinstance(value, list)
        }
        arrays["samples"] = arrays["samples"].reshape(-1, len(arrays["theta"]))
        x = {name: np.asarray(column, float) for name, column in content["x"].items()}
        error = ModelDiscrepancy(**content["discrepancy"]) if content["discrepancy"] else None
        return Forecast(**{**content, **arrays, "x": x, "discrepancy": error})


def interval(
    known: Forecast, law: Law, mean: np.ndarray, variance: np.ndarray, below: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(middle, both ends) of the interval of these moments, in the target's own unit [rows].

    Args:
      known: of the units, and of the draws without which the ends are NaN.
      law: of the scale; mean, variance: on it, in units of the data [rows]; below: variance that its lower
        half has besides [rows].
      width: half of the interval, in standard deviations.
    """
    width = width if len(known.samples) else np.nan
    ends = (mean, mean - width * np.sqrt(variance + below), mean + width * np.sqrt(variance))
    unit = known.units[law.target]
    found = [unit * (np.exp(np.minimum(end, 50.0)) if law.scale == "log" else end) for end in ends]
    return found[0], found[1], found[2]


def resample(run: np.ndarray, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Bootstrap weights of the rows [n_draws, rows]: runs are drawn with replacement, with all their rows.

    `run` [rows] numbers the run of each row: points of one curve are not independent.
    """
    n_runs = int(run.max()) + 1
    return rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=n_draws).astype(float)[:, run]


def forecast(
    law: Law,
    x: Mapping[str, np.ndarray],
    y: np.ndarray,
    units: Mapping[str, float],
    n_draws: int,
    rng: np.random.Generator,
    start: np.ndarray | None = None,
    rounds: int = ROUNDS,
) -> Forecast:
    """What runs say of a law under its prior.

    The law's parameters and the strengths of its discrepancy are found in turn: the parameters by generalised
    least squares, the strengths by restricted likelihood. Runs far above the cheapest way to their loss say
    little of the frontier and count less, as do outliers. The parameters' uncertainty is Gaussian around
    the most probable values.

    Args:
      x: columns [rows]; y: the target on the scale of the law's errors [rows]; both in units of the data.
      units: those; n_draws: of the parameters; rng: of the draws.
      start: parameters to begin from [params]; by default all of the law's starts are tried.
      rounds: of fitting the law and measuring its discrepancy in turn.
    """
    alone = locations(law, x) is None
    x, y, rows = _grouped(law, x, y, MAX_ALONE if alone else MAX_GROUPS)
    prior, at = Prior.of(law), locations(law, x)
    base = rows**-0.5
    if at is not None and law.target == "loss":
        base = base * np.sqrt(1 + (_excess(at[:, 0], y) / EXCESS) ** 2)
    spread, noise, error, starts = base, 0.01, None, np.array(law.starts) if start is None else start[None]
    for _ in range(rounds):
        known = covariance(error, at, noise * spread)
        found = [levenberg_marquardt(law, x, y, known, start, prior) for start in starts]
        theta = min(found, key=lambda each: each[1])[0]
        fitted, slopes = linearised(law, theta, x)
        residual, starts = y - fitted, theta[None]
        if at is None:
            left = residual / spread
            noise = max(float(np.sqrt(left @ left / max(len(y) - len(theta), 1))), NOISE_FLOOR)
        else:
            error, noise = estimate_discrepancy(at, residual, slopes, spread, prior.precision)
        known = covariance(error, at, noise * spread)
        own = (noise * spread) ** 2 * np.linalg.solve(known, residual)  # the runs', not the law's
        off = np.abs(own) / base
        spread = base * np.maximum(off / (OUTLIER * max(1.5 * np.median(off), NOISE_FLOOR)), 1.0)
    known = covariance(error, at, noise * spread)
    fitted, slopes = linearised(law, theta, x)
    posterior = np.linalg.inv(slopes.T @ np.linalg.solve(known, slopes) + np.diag(prior.precision + RIDGE))
    drawn = theta + np.zeros((n_draws, 1))
    if n_draws:
        root = np.linalg.cholesky(posterior + 1e-14 * np.diag(np.diag(posterior)))
        drawn = theta + rng.standard_normal((n_draws, len(theta))) @ root.T
    return Forecast(
        law=law.name,
        theta=law.unscale(theta, units),
        samples=law.unscale(np.clip(drawn, *np.array(law.bounds).T), units),
        noise=noise,
        dof=float(min(TAILS, max(len(y) - len(theta), 2))),
        units=dict(units),
        center=theta,
        covariance=posterior,
        discrepancy=error,
        x=x,
        y=y,
        spread=spread,
    )


def _grouped(law: Law, x: Mapping[str, np.ndarray], y: np.ndarray, most: int):
    """(columns, target, rows of each) of at most `most` groups of rows that lie close together."""
    x = {name: np.asarray(x[name], float) for name in law.columns}
    if len(y) <= most:
        return x, y, np.ones(len(y))
    plain = {name: x[name] if name in law.dimensionless else np.log(x[name]) for name in law.columns}
    place = np.concatenate([column.reshape(len(y), -1) for column in plain.values()], axis=1)
    place, step, label = place / np.maximum(place.std(axis=0), 1e-12), 0.05, np.arange(len(y))
    hashing = np.random.default_rng(0).integers(1, 2**62, place.shape[1])  # one number a cell sorts faster
    while label.max() >= most:
        label = np.unique(np.round(place / step).astype(np.int64) @ hashing, return_inverse=True)[1]
        step *= 1.25
    rows = np.bincount(label).astype(float)

    def mean(column: np.ndarray) -> np.ndarray:
        total = np.zeros((len(rows), *column.shape[1:]))
        np.add.at(total, label, column)
        return total / rows.reshape(-1, *[1] * (column.ndim - 1))

    means = {name: mean(column) for name, column in plain.items()}
    return {n: m if n in law.dimensionless else np.exp(m) for n, m in means.items()}, mean(y), rows


def _excess(log_c: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far each log loss lies above the best among the runs that cost no more [rows]; log_c to base 10."""
    order = np.argsort(log_c, kind="stable")
    best = np.minimum.accumulate(y[order])
    return y - best[np.searchsorted(log_c[order], log_c + np.log10(SAME_COST), side="right") - 1]
