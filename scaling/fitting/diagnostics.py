"""How far a fit can be trusted: what the runs leave open, and which runs decide it.

What a change of the runs does to an optimum is known to first order without solving again (`linearised_fit`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from scaling.fitting.solver import Problems, Solution, best_of_starts, solve
from scaling.laws import Law
from scaling.laws.law import linearised, scaled_values

AT_BOUND = 1e-6  # units of the data
SAME = 1e-6  # starts whose objectives differ by less than this fraction have reached the same optimum
SMALL = 0.1  # a parameter that is off by this, in units of the data, is known, however small it is
PART, MOVE = 0.3, 0.02  # parameters with this share in a flat direction, by effect and by size, are named
ROWS = 1_000_000  # in all fits with a run left out; of larger tables those of most influence to first order
SHOWN = 5  # of the most influential runs
FURTHER = 10.0  # times the largest compute, where it counts what a run does
RIDGE = 1e-10  # of the Hessian's diagonal: nothing moves along a direction that is flat


@dataclass(frozen=True)
class Influence:
    """What one run does to a fit.

    Attributes:
      run: its number; row: its first row in the table that was fitted.
      leverage: how much of its own fitted values it decides (the diagonal of the slopes' hat matrix, summed
        over its rows); over all runs it sums to the number of parameters off their bounds.
      moved: how much higher the forecast is without the run, on the scale of the law's errors: in log loss.
    """

    run: int
    row: int
    leverage: float
    moved: float


@dataclass(frozen=True)
class Diagnostics:
    """Of one fit.

    Attributes:
      n_starts, n_reached: how many starts there were, and how many reached the optimum.
      at_bounds: parameters that ended on a bound, for example "E at its lower bound".
      condition: of the slopes, each parameter's scaled to length 1; 1 is best.
      flat: in words, the directions in which parameters can move by their own size and change the fit by
        less than its noise.
      influential: the most influential runs, the strongest first.
      forecast_at: where their influence was measured.
    """

    n_starts: int
    n_reached: int
    at_bounds: tuple[str, ...]
    condition: float
    flat: tuple[str, ...]
    influential: tuple[Influence, ...]
    forecast_at: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Diagnostics":
        listed = {name: tuple(content[name]) for name in ("at_bounds", "flat")}
        influential = tuple(Influence(**each) for each in content["influential"])
        return Diagnostics(**{**content, **listed, "influential": influential})

    def __str__(self) -> str:
        first = self.influential[0]
        return "\n".join(
            [
                f"starts: {self.n_reached} of {self.n_starts} reached the optimum; condition number "
                f"{self.condition:.2g}",
                *self.at_bounds,
                *self.flat,
                f"without the run of row {first.row} the forecast at {self.forecast_at} moves by "
                f"{first.moved:+.2g}, more than without any other",
            ]
        )


class LinearisedFit(NamedTuple):
    """A fit without weights and prior, around its optimum. Parameters on a bound stay there: they have 0.

    Attributes:
      residual: what the law leaves of the target [rows].
      slopes: of the law on the scale of errors by the parameters [rows, params].
      influence: how far each run moves the optimum [runs, params]: what leaving it out would take back.
    """

    residual: np.ndarray
    slopes: np.ndarray
    influence: np.ndarray


def linearised_fit(
    law: Law, x: Mapping[str, np.ndarray], y: np.ndarray, theta: np.ndarray, delta: float, run: np.ndarray
) -> LinearisedFit:
    """The neighbourhood of an optimum.

    Args:
      x: columns [rows] and y: target [rows] on the scale of errors, in units of the data.
      theta: the optimum [params]; delta: of the Huber loss, on the scale of y.
      run: the run of each row [rows], numbered from 0.
    """
    low, high = np.array(law.bounds).T
    fitted, slopes = linearised(law, theta, x)
    residual, free = y - fitted, (theta > low) & (theta < high)
    slopes = np.where(free & np.isfinite(slopes), slopes, 0.0)
    inside = slopes[np.abs(residual) <= delta]
    hessian = inside.T @ inside
    hessian += np.diag(RIDGE * np.diag(hessian) + 1e-30)
    pulls = slopes * np.clip(residual, -delta, delta)[:, None]
    by_run = np.stack([np.bincount(run, pull) for pull in pulls.T])
    return LinearisedFit(residual, slopes, np.linalg.solve(hessian, by_run).T)


def resampled(
    law: Law,
    x: Mapping[str, np.ndarray],
    y: np.ndarray,
    theta: np.ndarray,
    delta: float,
    run: np.ndarray,
    n_draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Optima of resampled runs [draws, params], for tables of many runs: no weights [draws, rows] are needed.

    Normal around the optimum with the sandwich covariance (Huber 1967), cut off at the bounds. With 10,000
    runs its standard deviations are within 3 % of those of resamples that are solved, with 1,000 within 20 %.

    Args:
      x, y, theta, delta, run: see `linearised_fit`.
      n_draws: resamples; rng: for them.
    """
    influence = linearised_fit(law, x, y, theta, delta, run).influence
    root = np.linalg.qr(influence, mode="r")
    return np.clip(theta + rng.standard_normal((n_draws, len(root))) @ root, *np.array(law.bounds).T)


def diagnose(
    law: Law, x: Mapping[str, np.ndarray], y: np.ndarray, run: np.ndarray, delta: float, solution: Solution
) -> Diagnostics:
    """Of a fit without weights and prior, as scaling/fitting/fit.py makes it.

    Args:
      x, y: columns and target [rows] as the solver takes them, in units of the data.
      run: [rows] the number of each row's run, from 0.
      solution: from every start, as `solve` gives it.
    """
    optimum = best_of_starts(solution, len(solution.theta))
    theta, reached = optimum.theta[0], solution.objective <= optimum.objective[0] * (1 + SAME) + 1e-30
    here = linearised_fit(law, x, y, theta, delta, run)
    condition, flat = _flat(law, here, theta)
    influential, forecast_at = _influential(law, x, y, run, delta, theta, here)
    return Diagnostics(
        n_starts=len(reached),
        n_reached=int(np.sum(reached & np.isfinite(solution.objective))),
        at_bounds=_at_bounds(law, theta),
        condition=condition,
        flat=flat,
        influential=influential,
        forecast_at=forecast_at,
    )


def _at_bounds(law: Law, theta: np.ndarray) -> tuple[str, ...]:
    low, high = np.array(law.bounds).T
    ends = [(name, t, ends) for name, t, ends in zip(law.params, theta, zip(low, high))]
    lower = [f"{name} at its lower bound" for name, t, (end, _) in ends if t <= end + AT_BOUND]
    return (*lower, *[f"{name} at its upper bound" for name, t, (_, end) in ends if t >= end - AT_BOUND])


def _flat(law: Law, here: LinearisedFit, theta: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """(condition number, flat directions in words) of the parameters that are off their bounds."""
    low, high = np.array(law.bounds).T
    free = np.flatnonzero((theta > low + AT_BOUND) & (theta < high - AT_BOUND))
    noise = max(1.4826 * np.median(np.abs(here.residual)), 1e-9)
    sized = here.slopes[:, free] * np.maximum(np.abs(theta[free]), SMALL) / noise
    effect = np.maximum(np.linalg.norm(sized, axis=0), 1e-300)
    seen, directions = np.linalg.svd(sized, full_matrices=False)[1:]
    names = [law.params[i] for i in free]
    flat = [_in_words(names, each, effect) for value, each in zip(seen, directions) if value < 1]
    condition = np.linalg.cond(sized / effect) if len(free) else 1.0
    return float(min(condition, 1e16)), tuple(flat)


def _in_words(names: list[str], move: np.ndarray, effect: np.ndarray) -> str:
    share = np.abs(move) * effect
    part = (share >= PART * share.max()) & (np.abs(move) >= MOVE)
    up = [name for name, named, by in zip(names, part, move) if named and by > 0]
    down = [name for name, named, by in zip(names, part, move) if named and by < 0]
    if up and down:
        return f"{_and(up)} can move against {_and(down)}: the runs do not tell them apart"
    if len(up + down) == 1:
        return f"{_and(up + down)} is not determined by the runs"
    return f"{_and(up + down)} can move together: the runs do not tell them apart"


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _influential(
    law: Law,
    x: Mapping[str, np.ndarray],
    y: np.ndarray,
    run: np.ndarray,
    delta: float,
    theta,
    here: LinearisedFit,
):
    """(the most influential runs, where): runs are left out one after the other and the law fitted again."""
    target, forecast_at = _ahead(law, x)
    ahead = linearised(law, theta, target)[1]
    first_order = np.abs(here.influence @ ahead.T).max(axis=1)
    tried = np.argsort(-first_order, kind="stable")[: max(ROWS // len(y), SHOWN)]
    none = np.zeros((1, len(theta)))
    problems = Problems(y[None], (run != tried[:, None]).astype(float), np.array([delta]), none, none)
    without = solve(law, x, problems, np.tile(theta, (len(tried), 1))).theta
    change = scaled_values(law, without, target) - scaled_values(law, theta[None], target)
    moved = change[np.arange(len(tried)), np.abs(change).argmax(axis=1)]
    leverage = _leverage(here.slopes, run)
    row = np.unique(run, return_index=True)[1]
    order = np.argsort(-np.abs(moved), kind="stable")[:SHOWN]
    found = [Influence(int(r), int(row[r]), float(leverage[r]), float(m)) for r, m in zip(tried, moved)]
    return tuple(found[i] for i in order), forecast_at


def _leverage(slopes: np.ndarray, run: np.ndarray) -> np.ndarray:
    length = np.maximum(np.linalg.norm(slopes, axis=0), 1e-300)
    basis, values, _ = np.linalg.svd(slopes / length, full_matrices=False)
    basis = basis[:, values > 1e-8]  # what no run tells has no leverage
    return np.bincount(run, np.sum(basis**2, axis=1))


def _ahead(law: Law, x: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
    """Where a forecast counts: the run of most compute and ten times further, else at all runs."""
    size = law.size
    if size is None or "n_tokens" not in law.columns:
        return {name: np.asarray(x[name]) for name in law.columns}, "the runs"
    at = int(np.argmax(x[size] * x["n_tokens"]))
    further = {name: np.sqrt(FURTHER) if name in (size, "n_tokens") else 1.0 for name in law.columns}
    return {
        n: np.asarray(x[n])[at : at + 1] * further[n] for n in law.columns
    }, "10 times the largest compute"
