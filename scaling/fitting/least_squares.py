"""Generalised least squares of a law under a Gaussian prior: errors of the rows may be correlated."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from scipy import linalg

from scaling.fitting.solver import damped_step
from scaling.laws import Law
from scaling.laws.law import linearised, scaled_values

STEPS, TRIES = 60, 8  # of the iteration; of each step, more damped each time

_damped_step = jax.jit(damped_step)


class Prior(NamedTuple):
    """Gaussian prior of a law's parameters: mean and precision [params]; precision 0 says nothing."""

    mean: np.ndarray
    precision: np.ndarray

    @staticmethod
    def of(law: Law) -> "Prior":
        mean, sd = np.array(law.prior).T
        return Prior(np.where(np.isfinite(sd), mean, 0.0), np.where(np.isfinite(sd), sd**-2.0, 0.0))


def levenberg_marquardt(
    law: Law,
    x: Mapping[str, np.ndarray],
    y: np.ndarray,
    covariance: np.ndarray,
    start: np.ndarray,
    prior: Prior,
) -> tuple[np.ndarray, float]:
    """(theta, cost) of the least cost inside the law's bounds, from one start.

    cost = e' covariance^-1 e + sum_j precision_j (theta_j - mean_j)^2, e = y - the law's scaled values.

    Args:
      x: the law's columns [rows] and y: the target on the scale of its errors [rows], in units of the data.
      covariance: of the errors [rows, rows].
      start: [params].
    """
    low, high = np.array(law.bounds).T
    root = np.linalg.cholesky(covariance)

    def whiten(rows: np.ndarray) -> np.ndarray:
        return linalg.solve_triangular(root, rows, lower=True, check_finite=False)

    def cost(theta: np.ndarray) -> float:  # not a number, and so no better, outside the law's domain
        with np.errstate(all="ignore"):
            white = whiten(y - scaled_values(law, theta[None], x)[0])
            return float(white @ white + prior.precision @ (theta - prior.mean) ** 2)

    theta = np.clip(start, low, high)
    now, damping = cost(theta), 1e-2
    for _ in range(STEPS):
        value, slopes = linearised(law, theta, x)
        left, slopes = whiten(y - value), whiten(slopes)
        gradient = prior.precision * (theta - prior.mean) - slopes.T @ left
        hessian = slopes.T @ slopes + np.diag(prior.precision)
        before = now
        for _ in range(TRIES):
            with jax.enable_x64(True):
                tried = np.asarray(_damped_step(theta, gradient, hessian, damping, low, high)[0])
            reached = cost(tried)
            if reached < now:
                theta, now, damping = tried, reached, max(damping / 5, 1e-9)
                break
            damping *= 5
        if before - now <= 1e-7 * now + 1e-9:
            break
    return theta, now
