"""Doubt: resampling of runs, and the forecast of the measured loss of a new, larger run.

Three things make a new run differ from the law's line, and a forecast's interval holds all three. The
parameters are known only roughly: they are drawn again and again. A run repeated with another seed ends
elsewhere: its noise is read off the residuals. And no law is exactly true: forecasts use the law's relaxed
form, where what the law ties together may differ within a prior, and add a drift that grows with the distance
from the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from scaling.laws import Law
from scaling.solver import ROUGH, Lanes, best, solve, told, values

KNEE = 1.345  # Huber's delta in standard deviations of the noise: 95 % efficient if the noise is Gaussian
KNEE_VARIANCE = 0.7102  # E[min(z^2, KNEE^2)] for Gaussian z
NOISE = (1e-4, 0.2)  # range of the noise of log loss
ROUNDS = 4  # of fitting and estimating the noise in turn


# What the law is off by, per decade of compute beyond the data: a guess (in log loss), and how many held-out
# checks it counts for. One check inside a small table says little; it corrects the guess where they clash.
DRIFT, DRIFT_CHECKS = 0.007, 3.0
HELD_OUT = 0.8  # runs above this quantile of compute are held out to check the extrapolation


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is known of a law and of what lies around it, for predictions.

    Attributes:
      law: name of the form used.
      theta: its parameters [params]; samples: draws of them [draws, params], draws may be 0.
      noise: standard deviation of log loss from run to run; dof: degrees of freedom it was estimated with.
      drift: standard deviation of what the law is off by, in log loss per decade of compute beyond `reach`,
        the largest n_params * n_tokens among the runs (None: the law does not read both).
    """

    law: str
    theta: np.ndarray
    samples: np.ndarray
    noise: float
    dof: float
    drift: float
    reach: float | None

    def predict(
        self, law: Law, x: Mapping[str, np.ndarray], level: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Loss, and both ends of the interval for one new run, at each row of `x` (NaN without draws)."""
        loss = values(law, self.theta[None], x)[0]
        if not len(self.samples):
            return loss, np.full_like(loss, np.nan), np.full_like(loss, np.nan)
        rng = np.random.default_rng(0)
        scatter = self.noise * rng.standard_t(self.dof, len(self.samples))[:, None]
        if self.reach is not None:
            beyond = np.maximum(np.log10(x["n_params"] * x["n_tokens"] / self.reach), 0.0)
            scatter = scatter + self.drift * beyond * rng.standard_normal(len(self.samples))[:, None]
        drawn = told(law, self.samples, x) + scatter
        lo, hi = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return (loss, np.exp(lo), np.exp(hi)) if law.scale == "log" else (loss, lo, hi)

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "theta": self.theta.tolist(), "samples": self.samples.tolist()}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Forecast":
        theta = np.asarray(content["theta"], float)
        samples = np.asarray(content["samples"], float).reshape(-1, len(theta))
        return Forecast(**{**content, "theta": theta, "samples": samples})


class Posterior(NamedTuple):
    """Per table: most probable parameters, their draws (units of the data), noise and drift of log loss."""

    theta: np.ndarray  # [tables, params]
    draws: np.ndarray  # [tables, draws, params]
    noise: np.ndarray  # [tables]
    drift: np.ndarray  # [tables]


def resample(run: np.ndarray, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Bootstrap weights of the rows [n_draws, rows]: runs are drawn with replacement, with all their rows.

    `run` [rows] numbers the run of each row: points of one curve are not independent.
    """
    n_runs = int(run.max()) + 1
    return rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=n_draws).astype(float)[:, run]


def posterior(
    law: Law,
    x: Mapping[str, np.ndarray],
    y: np.ndarray,
    run: np.ndarray,
    n_draws: int,
    n_fitted: int,
    rng: np.random.Generator,
) -> Posterior:
    """What tables of losses, measured at the same points, say of a law under its prior.

    The noise is estimated from the residuals by Huber's proposal 2. Each draw solves the problem again with
    random weights of the runs and a random centre of the prior: for a linear law with Gaussian noise, nearly
    a draw from the posterior ("randomise, then optimise"; the weights are those of the Bayesian bootstrap,
    Rubin 1981, their variance raised by n / (n - n_fitted) for the degrees of freedom that the fit took).

    Args:
      x: columns [rows]; y: log losses [tables, rows]; both in units of the data.
      run: number of the run of each row.
    """
    mean, sd = np.array(law.prior).T
    (low, high), n_tables, n_runs = np.array(law.bounds).T, len(y), int(run.max()) + 1
    dof = max(n_runs - n_fitted, 2)
    start, n_starts, noise = np.tile(law.starts, (n_tables, 1)), len(law.starts), np.full(n_tables, 0.01)

    def lanes(copies: int, weight: np.ndarray, centre: np.ndarray) -> Lanes:
        precision = noise[:, None] ** 2 / sd**2
        each = [np.repeat(a, copies, axis=0) for a in (y, KNEE * noise, precision)]
        return Lanes(each[0], weight, each[1], centre, each[2])

    every = np.ones((1, y.shape[1]))
    for _ in range(ROUNDS):
        theta = best(solve(law, x, lanes(n_starts, every, mean[None]), start), n_starts).theta
        residual = y - told(law, theta, x)
        noise, start, n_starts = _noise(residual, noise, dof / n_runs), theta, 1
    drift = np.zeros(n_tables)
    if {"n_params", "n_tokens"} <= set(law.columns):
        drift = _drift(law, x, y, lanes(1, _held_in(x), mean[None]), theta, noise)
    n, spread = n_tables * n_draws, n_runs / dof
    weight = rng.gamma(1 / spread, spread, (n, n_runs))[:, run]
    centre = mean + np.where(np.isfinite(sd), sd, 0.0) * rng.standard_normal((n, len(mean)))
    drawn = np.zeros((0, len(mean)))
    if n_draws:
        problems = lanes(n_draws, weight, np.clip(centre, low, high))
        drawn = solve(law, x, problems, np.repeat(theta, n_draws, axis=0), ROUGH).theta
    return Posterior(theta, drawn.reshape(n_tables, n_draws, len(mean)), noise, drift)


def _noise(residual: np.ndarray, noise: np.ndarray, share: float) -> np.ndarray:
    """Standard deviation of residuals [tables, rows], outliers bounded; `share` of them are free to vary."""
    for _ in range(10):
        bounded = np.minimum(residual**2, (KNEE * noise[:, None]) ** 2).mean(axis=1)
        noise = np.clip(np.sqrt(bounded / (share * KNEE_VARIANCE)), *NOISE)
    return noise


def _held_in(x: Mapping[str, np.ndarray]) -> np.ndarray:
    """Weights [1, rows]: 0 for the runs of the largest compute, and those just below: budgets stay whole."""
    compute = x["n_params"] * x["n_tokens"]
    return (compute < np.quantile(compute, HELD_OUT) / 1.1)[None].astype(float)


def _drift(
    law: Law, x: Mapping[str, np.ndarray], y: np.ndarray, lanes: Lanes, theta: np.ndarray, noise: np.ndarray
):
    """What the law, fitted to the smaller runs, is off by at the larger ones, per decade."""
    kept = lanes.weight[0] > 0
    if kept.sum() < len(law.params) + 2 or kept.all():
        return np.full(len(y), DRIFT)
    error = y - told(law, solve(law, x, lanes, theta).theta, x)
    excess = np.maximum(error[:, ~kept].mean(axis=1) ** 2 - noise**2 / (~kept).sum(), 0.0)
    log_c = np.log10(x["n_params"] * x["n_tokens"])
    decades = max(log_c[~kept].mean() - log_c[kept].max(), 0.3)
    return np.sqrt((DRIFT_CHECKS * DRIFT**2 + excess / decades**2) / (DRIFT_CHECKS + 1))
