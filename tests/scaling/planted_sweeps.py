"""Sweeps of learning rate and batch with known optima: for tests and benchmark of
scaling/hparams/fit_hparams.py."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.hparams.sweeps import AXES
from scaling.table.runs import Runs, check

ORIGIN = np.log([1e8, 2e9])  # n_params and n_tokens in the middle of the cells


@dataclass(frozen=True)
class Truth:
    """Laws of log optima [1, log N, log D; axes] about ORIGIN, and loss surfaces that no parabola fits.

    A surface is half a quadratic form in (exp(stretch d) - 1) / stretch, d the log distance from the optimum.
    """

    law: np.ndarray
    curvature: np.ndarray
    stretch: np.ndarray
    trend: np.ndarray
    scatter: float

    def excess(self, setting: np.ndarray, optimum: np.ndarray, sharpness: float, stretch: np.ndarray):
        """Log loss above the optimum's."""
        d = np.expm1(stretch * (setting - optimum)) / stretch
        return sharpness * np.einsum("...i,ij,...j->...", d, self.curvature, d) / 2


def random_truth(rng: np.random.Generator, axes: int = 2, scatter: float = 0.05) -> Truth:
    """Exponents, curvatures and asymmetries as wide as published sweeps have them."""
    lr = [np.log(2e-3), rng.uniform(-0.8, -0.1), rng.uniform(-0.3, 0.3)]
    batch = [np.log(3e5), rng.uniform(-0.2, 0.3), rng.uniform(0.2, 0.7)]
    own = rng.uniform(0.01, 0.05, 2)
    across = rng.uniform(-0.6, 0.2) * np.sqrt(own.prod())
    return Truth(
        law=np.array([lr, batch]).T[:, :axes],
        curvature=np.array([[own[0], across], [across, own[1]]])[:axes, :axes],
        stretch=rng.uniform(-0.1, 0.3, 2)[:axes] + 1e-3,
        trend=rng.uniform(-0.15, 0.1, 2),
        scatter=scatter,
    )


def cross(n: int, step: float = 1.2) -> np.ndarray:
    """Log sizes [n * n, 2] of cells, all N with all D, about ORIGIN."""
    steps = step * (np.arange(n) - (n - 1) / 2)
    return np.array([(log_n, log_d) for log_n in steps for log_d in steps])


def line(n: int, step: float = 0.7) -> np.ndarray:
    """Log sizes [n, 2] of cells with D in proportion to N."""
    return np.repeat(step * (np.arange(n) - (n - 1) / 2), 2).reshape(n, 2)


def planted_sweeps(
    truth: Truth, sizes: np.ndarray, noise: float, rows: int | None, rng: np.random.Generator
) -> tuple[Runs, np.ndarray]:
    """(runs, log optima [cells, axes]): sweeps off centre by up to 0.6, some of the fast runs diverged.

    rows: settings at random within a factor of 5; None for a grid of five values, a factor of 2 apart, on
    each axis. The noise of log loss is normal, and 3 % of the runs have a loss spike.
    """
    axes, tables, optima = truth.law.shape[1], [], []
    for size in sizes:
        optimum = np.array([1.0, *size]) @ truth.law + truth.scatter * rng.standard_normal(axes)
        sharpness = np.exp(size @ truth.trend + 0.15 * rng.standard_normal())
        middle = optimum + rng.uniform(-0.6, 0.6, axes)
        steps = np.log(2) * np.arange(-2, 3)
        tried = np.stack(np.meshgrid(*[steps] * axes), axis=-1).reshape(-1, axes)
        if rows is not None:
            tried = rng.uniform(-1.6, 1.6, (rows, axes))
        setting = middle + tried
        stretch = truth.stretch + 0.05 * rng.standard_normal(axes)
        spikes = rng.exponential(0.01, len(setting)) * (rng.random(len(setting)) < 0.03)
        log_loss = truth.excess(setting, optimum, sharpness, stretch) + spikes
        log_loss = log_loss + noise * rng.standard_normal(len(setting)) + np.log(3) - 0.05 * size.sum()
        lost = (setting[:, 0] > optimum[0] + 1.9) & (rng.random(len(setting)) < 0.5)
        n_params, n_tokens = np.exp(ORIGIN + size)
        table = pd.DataFrame(dict(zip(AXES, np.exp(setting).T)))
        table = table.assign(n_params=n_params, n_tokens=n_tokens, loss=np.exp(log_loss))
        tables.append(table.assign(status=np.where(lost, "diverged", "done")))
        optima.append(optimum)
    return check(pd.concat(tables), {}), np.array(optima)
