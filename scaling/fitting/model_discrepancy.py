"""What a law is off by: correlated errors, so that a forecast leans on the law only where the law holds.

No law is exactly true, and two of its errors are common to published tables. Small budgets lose by warm-ups,
short schedules and other things that the law does not know, so the law drifts away from them: an integrated
random walk in log compute, still at the largest budget and wilder towards the small ones. And the profile at
equal compute is not quite the law's: a smooth error over the ratio of size to tokens, much the same at
neighbouring budgets. How strong both are is read off each table by restricted maximum likelihood (Kennedy and
O'Hagan 2001, "Bayesian calibration of computer models"; Rasmussen and Williams 2006, sections 2.7 and 5.4).
What a law will be off by beyond the runs no table of them can say; see scaling/fitting/reach.py.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from scaling.laws import Law

ACROSS, ALONG = 1.5, 5.0  # correlation lengths of the profile's error: half log(N / D), log(N D)
# Strengths tried, in standard deviations of the noise: the profile's error, the drift over the first decade.
PROFILE = (1e-3, 1.0, 3.0, 10.0)
DRIFT = (1e-3, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
PROFILE_SCALE, DRIFT_SCALE = 0.02, 0.2  # half-normal priors of both, in log loss
AHEAD = 0.01  # as DRIFT, upwards
NOISE = (2e-4, 0.2)  # range of the standard deviation of the runs' own noise
RIDGE = 1e-9  # precision of a parameter that neither runs nor prior determine


@dataclass(frozen=True)
class ModelDiscrepancy:
    """Strengths of a law's errors, on the scale its errors are taken on.

    Attributes:
      profile: standard deviation of the error over the ratio of size to tokens.
      drift: sqrt(3) times the standard deviation of the error one decade of compute from the largest.
      top: log10 of the largest compute, in units of the data.
    """

    profile: float
    drift: float
    top: float

    def between(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Covariance of the errors at locations [n, 2] and [m, 2], see `locations`: [n, m]."""
        below = [np.maximum(self.top - place[:, 0], 0.0) for place in (one, other)]
        return self.profile**2 * _smooth(one, other) + self.drift**2 * _walk(*below)

    def ahead(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Covariance of what the law will be off by beyond the largest compute, with which runs there have to
        be believed: the reach of a forecast (scaling/fitting/reach.py) as errors that neighbours share."""
        above = [np.maximum(place[:, 0] - self.top, 0.0) for place in (one, other)]
        return AHEAD**2 * _walk(*above)


def locations(law: Law, x: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Where rows lie: log10 of compute, half log of size over tokens [rows, 2]; None for a law of neither."""
    size = law.size
    if size and "n_tokens" in law.columns:
        log_n, log_d = np.log(x[size]), np.log(x["n_tokens"])
        return np.stack([(log_n + log_d) / np.log(10), (log_n - log_d) / 2], axis=1)
    if "flops" in law.columns:
        log_c = np.log10(x["flops"])
        return np.stack([log_c, np.zeros_like(log_c)], axis=1)
    return None


def decades(at: np.ndarray) -> np.ndarray:
    """`locations` [rows, 2] as log10 of size and of tokens [rows, 2]; compute alone as along a frontier."""
    half, across = at[:, 0] / 2, at[:, 1] / np.log(10)
    return np.stack([half + across, half - across], axis=1)


def covariance(error: ModelDiscrepancy | None, at: np.ndarray | None, spread: np.ndarray) -> np.ndarray:
    """Of the rows' errors, those of the law and their own of standard deviation `spread` [rows, rows]."""
    own = np.diag(spread**2)
    return own if error is None or at is None else own + error.between(at, at)


def estimate_discrepancy(
    at: np.ndarray, residual: np.ndarray, slopes: np.ndarray, spread: np.ndarray, precision: np.ndarray
) -> tuple[ModelDiscrepancy, float]:
    """The most probable discrepancy and noise, given what a law leaves over.

    Args:
      at: locations [rows, 2]; residual [rows]; slopes: of the law by its parameters [rows, params].
      spread: standard deviation of each row's noise, up to the common factor that is sought [rows].
      precision: of the prior of the parameters [params].
    """
    top, n_left, found = float(at[:, 0].max()), max(len(residual) - slopes.shape[1], 1), []
    smooth, walk = _smooth(at, at), _walk(top - at[:, 0], top - at[:, 0])
    for profile, drift in itertools.product(PROFILE, DRIFT):
        root = linalg.cholesky(
            profile**2 * smooth + drift**2 * walk + np.diag(spread**2), lower=True, check_finite=False
        )
        white = linalg.solve_triangular(
            root, np.column_stack([residual, slopes]), lower=True, check_finite=False
        )
        misfit = white[:, 0] @ white[:, 0]
        noise = float(np.clip(np.sqrt(misfit / n_left), *NOISE))
        information = white[:, 1:].T @ white[:, 1:] / noise**2 + np.diag(precision + RIDGE)
        likelihood = -0.5 * misfit / noise**2 - np.log(np.diag(root)).sum() - len(residual) * np.log(noise)
        prior = (noise * profile / PROFILE_SCALE) ** 2 + (noise * drift / DRIFT_SCALE) ** 2
        evidence = likelihood - 0.5 * np.linalg.slogdet(information)[1] - 0.5 * prior
        found.append((evidence, noise * profile, noise * drift, noise))
    _, profile, drift, noise = max(found)
    return ModelDiscrepancy(profile, drift, top), noise


def _smooth(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlation of the profile's error at locations [n, 2] and [m, 2]: [n, m]."""
    along = np.log(10) * (one[:, None, 0] - other[:, 0]) / ALONG
    across = (one[:, None, 1] - other[:, 1]) / ACROSS
    return np.exp(-0.5 * (along**2 + across**2))


def _walk(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Covariance of an integrated random walk that starts, level, at 0: [n, m]."""
    near, far = np.minimum(one[:, None], other), np.maximum(one[:, None], other)
    return near**2 * (3 * far - near) / 6
