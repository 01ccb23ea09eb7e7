"""A known truth and tables of runs from it, with what real tables add to a law.

The truth is Chinchilla's law (Hoffmann et al. 2022, arXiv 2203.15556, eq. 2) and the ways in which
reality is not it: noise from seed to seed, learning rates beside their best, profiles more curved than the
law's, small budgets that lose by warm-ups, outliers, runs that are missing, and sizes counted by another
convention.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd

LR_CURVATURE = 0.01  # log loss lost by a learning rate that is a factor of e beside its best


@dataclass(frozen=True)
class SimulatedTruth:
    """A truth.

    Attributes:
      E, A, B, alpha, beta: Chinchilla's law, nats per token, parameters and tokens.
      noise: standard deviation of log loss from seed to seed.
      mistuned: standard deviation of log lr around its best; it only ever costs.
      bend: excess loss, relative, of a size a factor of e from the best for its compute, beyond the law's.
      warmup: relative loss lost at `small` FLOPs; it falls as the inverse square root of compute.
      outliers: share of runs that lose another 5 to 50 %; missing: share of runs not in the table.
      uncounted: parameters that the table's N leaves out, as c * N^(2/3): embeddings of a ladder of shapes.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    noise: float = 0.003
    mistuned: float = 0.0
    bend: float = 0.0
    warmup: float = 0.0
    small: float = 1e17
    outliers: float = 0.0
    missing: float = 0.0
    uncounted: float = 0.0

    def loss(self, n_params: np.ndarray, n_tokens: np.ndarray) -> np.ndarray:
        """Expected loss of well-tuned runs."""
        flops = 6.0 * n_params * n_tokens
        excess = self.A / n_params**self.alpha + self.B / n_tokens**self.beta
        off = np.log(n_params / self.best_size(flops))
        lost = 1 + self.warmup * np.sqrt(self.small / flops)
        return (self.E + excess * (1 + self.bend * off**2)) * lost

    def best_size(self, flops) -> np.ndarray:
        """Compute-optimal N (Hoffmann et al. 2022, eq. 4); bend and warm-up do not move it."""
        total = self.alpha + self.beta
        scale = (self.alpha * self.A / (self.beta * self.B)) ** (1 / total)
        return scale * (np.asarray(flops, float) / 6) ** (self.beta / total)


def random_truth(rng: np.random.Generator, flops: float = 1e19, **reality: float) -> SimulatedTruth:
    """Exponents, irreducible share and tokens per parameter as published tables have them, at this budget."""
    alpha, beta = rng.uniform(0.25, 0.45, 2)
    share, excess = rng.uniform(0.45, 0.75), rng.uniform(0.6, 1.2)
    n_params = np.sqrt(flops / 6 / 10 ** rng.uniform(0.8, 1.7))
    n_tokens = flops / 6 / n_params
    A = excess * beta / (alpha + beta) * n_params**alpha
    B = excess * alpha / (alpha + beta) * n_tokens**beta
    truth = SimulatedTruth(excess * share / (1 - share), A, B, float(alpha), float(beta), small=flops / 100)
    return replace(truth, **{"noise": 10 ** rng.uniform(-2.7, -2.1), **reality})


class HasFrontier(Protocol):
    """A truth that knows the compute-optimal N at given FLOPs."""

    def best_size(self, flops) -> np.ndarray: ...


def isoflop_grid(
    truth: HasFrontier, budgets, sizes: int = 7, reach: float = 1.5, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(n_params, n_tokens): sizes evenly spaced in the logarithm, e^±reach around the best of each budget.

    With `rng` the grids' middles are off by up to half of that, as before the best sizes are known.

    Args:
      truth: of the simulated runs.
      budgets: FLOPs, 6·N·D.
      sizes: of each budget.
      reach: of the sizes, in log units, to either side.
      rng: for where the grids' middles are.
    """
    budgets = np.asarray(budgets, float)
    shift = 0.0 if rng is None else rng.uniform(-reach / 2, reach / 2, (len(budgets), 1))
    log_n = np.log(truth.best_size(budgets))[:, None] + shift + np.linspace(-reach, reach, sizes)
    n_params = np.exp(log_n).ravel()
    return n_params, np.repeat(budgets, sizes) / (6.0 * n_params)


def measure(
    truth: SimulatedTruth, n_params: np.ndarray, n_tokens: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    """A table of these runs: n_params (as it counts them), n_tokens, loss.

    Args:
      truth: the law, its noise and what goes wrong.
      n_params, n_tokens: of the runs [n].
      rng: for noise, mistuned runs, outliers and those that are missing.
    """
    count = len(n_params)
    loss = truth.loss(n_params, n_tokens) * np.exp(truth.noise * rng.standard_normal(count))
    loss = loss * np.exp(LR_CURVATURE * (truth.mistuned * rng.standard_normal(count)) ** 2)
    loss = loss * np.where(rng.random(count) < truth.outliers, np.exp(rng.uniform(0.05, 0.4, count)), 1.0)
    counted = n_params - truth.uncounted * n_params ** (2 / 3)
    table = pd.DataFrame({"n_params": counted, "n_tokens": n_tokens, "loss": loss})
    return table.loc[rng.random(count) >= truth.missing].reset_index(drop=True)
