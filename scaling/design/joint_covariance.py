"""The joint covariance of a target and the losses of candidate runs, and the variance that measuring leaves.

Near its most probable parameters a law is linear in them, so the information in a run can be computed before
it is made. The error of the law itself is part of the covariance, as it is in predictions
(scaling/fitting/model_discrepancy.py): a plan that takes the law to be exact puts all runs where the law
is most sensitive, and is misled where the law is a little wrong. A few runs cannot determine the size of that
error, nor the noise: both are shrunk towards typical values.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling import laws
from scaling.design.design_target import DesignTarget
from scaling.fitting.model_discrepancy import RIDGE, ModelDiscrepancy, covariance, locations
from scaling.fitting.result import Fit
from scaling.fitting.uncertainty import EXCESS
from scaling.laws.law import linearised, scaled_values
from scaling.optimum.frontier import Spending, best_sizes

# Typical noise of log loss and sizes of a law's error (see ModelDiscrepancy); they count as so many runs.
NOISE, PROFILE, DRIFT, TYPICAL_RUNS = 0.004, 0.003, 0.01, 10.0


@dataclass(frozen=True, eq=False)
class JointCovariance:
    """The covariance before any new run.

    Attributes:
      shared: covariance of the target and the candidates' mean losses [1 + candidates, 1 + candidates].
      noise: variance of each candidate's noise [candidates].
      floor: variance of the target's own noise, 0 if it is no loss.
    """

    shared: np.ndarray
    noise: np.ndarray
    floor: float


def joint_covariance(
    fit: Fit, target: DesignTarget, table: pd.DataFrame, typical_runs: float = TYPICAL_RUNS
) -> JointCovariance:
    """The covariance of a target and of candidate runs.

    Args:
      fit, target: what is known so far, and what is to be predicted.
      table: the candidates: the law's columns and flops, a row a run.
      typical_runs: how many runs the typical noise and error of a law count as, beside those of the fit; 0
        takes both as the fit has them, and the target is as uncertain as the fit predicts it.
    """
    forecast, law = fit.forecast, laws.find(fit.forecast.law)
    n_left = max(len(forecast.y) - len(law.params), 0)
    noise = _shrunk(forecast.noise, NOISE, n_left, typical_runs)
    here, fitted = locations(law, forecast.x), forecast.discrepancy
    assert here is not None and fitted is not None  # the law has sizes and tokens: `find` has seen to that
    error = ModelDiscrepancy(
        _shrunk(fitted.profile, PROFILE, n_left, typical_runs),
        _shrunk(fitted.drift, DRIFT, n_left, typical_runs),
        float(here[:, 0].max()),
    )
    known = covariance(error, here, noise * forecast.spread)
    seen = linearised(law, forecast.center, forecast.x)[1]
    precision = np.array(law.prior)[:, 1] ** -2.0 + RIDGE
    parameters = np.linalg.inv(seen.T @ np.linalg.solve(known, seen) + np.diag(precision))

    x = {name: table[name].to_numpy() for name in law.columns}
    excess = _excess(fit.forecast.theta[None], target.spend, x, table["flops"].to_numpy())
    spread = np.sqrt(1 + (excess / EXCESS) ** 2)  # as predictions weigh runs that are far from the frontier
    if target.x:
        x = {name: np.append(target.x[name], x[name]) for name in law.columns}
    x = {name: column / forecast.units[name] for name, column in x.items()}
    at = locations(law, x)
    assert at is not None
    across = error.between(at, here)
    weights = np.linalg.solve(known, across.T).T
    slopes = linearised(law, forecast.center, x)[1] - weights @ seen
    left = error.between(at, at) + error.ahead(at, at) - weights @ across.T
    if target.of:
        slopes = np.vstack([_gradient(fit, target.of), slopes])
        left = np.pad(left, ((1, 0), (1, 0)))  # a best size is of the law itself
    floor = noise**2 if target.x else 0.0
    return JointCovariance(slopes @ parameters @ slopes.T + left, (noise * spread) ** 2, floor)


def _shrunk(found: float, typical: float, n_left: int, typical_runs: float) -> float:
    """A standard deviation estimated with `n_left` degrees of freedom, shrunk towards the typical one."""
    if typical_runs == 0:
        return found
    return float(np.sqrt((n_left * found**2 + typical_runs * typical**2) / (n_left + typical_runs)))


def _excess(theta: np.ndarray, spend: Spending, x: dict[str, np.ndarray], flops: np.ndarray) -> np.ndarray:
    """How far the log loss of each run lies above the best for its compute [thetas, runs]."""
    best = best_sizes(spend, theta, flops)[0]
    lowest = scaled_values(spend.law, theta, spend.x(best, spend.n_tokens(best, flops)))[0]
    return np.maximum(scaled_values(spend.law, theta, x)[0] - lowest, 0.0)


def _gradient(fit: Fit, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Central differences of a function of the law's parameters, in units of the data [params]."""
    forecast, law = fit.forecast, laws.find(fit.forecast.law)
    step = 1e-3 * np.maximum(np.abs(forecast.center), 0.1)
    moved = [law.unscale(forecast.center + sign * np.diag(step), forecast.units) for sign in (1, -1)]
    return (of(moved[0]) - of(moved[1])) / (2 * step)


def remaining_variance(joint: JointCovariance, chosen: list[int]) -> float:
    """Variance of the target once the losses of the chosen candidates (their indices) are measured."""
    at = np.array(chosen, int) + 1
    column, among = joint.shared[0, at], joint.shared[np.ix_(at, at)] + np.diag(joint.noise[at - 1])
    return float(joint.shared[0, 0] - column @ np.linalg.solve(among, column))
