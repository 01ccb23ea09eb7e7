"""Draws of a law's line with what the law is off by, at many places together."""

from collections.abc import Mapping

import numpy as np

from scaling.fitting.model_discrepancy import covariance, locations
from scaling.fitting.uncertainty import Forecast
from scaling.laws import Law
from scaling.laws.law import linearised

JITTER = 1e-9  # of the mean variance, so that places that lie together have a Cholesky root


def joint_draws(
    known: Forecast, law: Law, x: Mapping[str, np.ndarray], n_draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The expected target on the scale of the law's errors: (most probable [rows], draws [draws, rows]).

    Each draw is one curve: what it is off by at a place, it is off by at the neighbouring ones, too, as
    `Forecast.predict` has it at one place. Run-to-run noise is not in it. n runs of a law of p parameters are
    nearer to it than it is to the truth: the draws spread √(n / (n - p)) times as far as the forecast's
    covariance, without which intervals of few runs held too little (benchmarks/scaling/recipe_gain.py).

    Args:
      known: what the runs say of the law.
      law: the form of that forecast.
      x: columns of the places [rows], in the table's own units.
      n_draws: how many.
      rng: of the draws.
    """
    x = {name: np.asarray(x[name], float) / known.units[name] for name in law.columns}
    middle, slopes = linearised(law, known.center, x)
    at, here = locations(law, x), locations(law, known.x)
    spread = 0.0
    if known.discrepancy and at is not None and here is not None:
        across = known.discrepancy.between(at, here)
        weights = np.linalg.solve(covariance(known.discrepancy, here, known.noise * known.spread), across.T).T
        fitted, seen = linearised(law, known.center, known.x)
        middle, slopes = middle + weights @ (known.y - fitted), slopes - weights @ seen
        spread = known.discrepancy.between(at, at) + known.discrepancy.ahead(at, at) - weights @ across.T
    spread = spread + slopes @ known.covariance @ slopes.T
    root = np.linalg.cholesky(spread + JITTER * np.trace(spread) / len(spread) * np.eye(len(spread)))
    n, p = len(known.y), len(known.center)
    tails = np.sqrt(n / max(n - p, 1) * known.dof / rng.chisquare(known.dof, n_draws))
    shift = np.log(known.units[law.target]) if law.scale == "log" else 0.0
    drawn = rng.standard_normal((n_draws, len(middle))) @ root.T
    return middle + shift, middle + shift + tails[:, None] * drawn
