"""What compute returns: the budget for a loss, and the price of the next per cent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.fitting.result import Fit
from scaling.optimum.frontier import (
    Spending,
    at_best_size,
    best_sizes,
    check_positive,
    forecast_draws,
    interval,
    losses,
    shaped_like,
    spending,
)

SCAN = np.geomspace(1e3, 1e40, 297)  # budgets among which the first that reaches a loss is looked for
HALVINGS = 50  # of the logarithm of a budget
FAR = 1e12  # times a budget: a loss that this does not reach is out of reach


@dataclass(frozen=True)
class TrainingBudget:
    """The least compute for a loss, and how it is spent; arrays where `loss` is one.

    A new run at flops_hi ends at the loss or below with probability (1 + level) / 2, one at flops_lo with
    (1 - level) / 2. flops_hi is infinite where no budget makes that sure; NaN without draws.
    """

    loss: Any
    flops: Any
    flops_lo: Any
    flops_hi: Any
    n_params: Any
    n_tokens: Any
    level: float


@dataclass(frozen=True)
class Improvement:
    """How many times the compute makes the best loss `percent` lower, with its interval (of the law alone).

    It grows with the budget and is infinite where the loss asked for is below what the law calls irreducible.
    """

    flops: Any
    loss: Any
    factor: Any
    factor_lo: Any
    factor_hi: Any
    percent: float
    level: float


def budget_for(fit: Fit, loss, **terms) -> TrainingBudget:
    """The least budget predicted to reach a loss, training and serving together: the frontier inverted.

    At a fixed loss, the least 6·N·D + 2·N·inference_tokens over all N is what Sardana & Frankle 2024
    (arXiv 2401.00448), eq. 2, ask for.

    Args:
      loss: a scalar or an array.
      terms: what a budget may be spent on; see `frontier.spending`.

    Raises:
      ValueError: a loss that is not positive or that no budget reaches, or terms that are refused.
    """
    wanted = check_positive("loss", loss).ravel()
    spend = spending(fit, **terms)
    flops, lo, hi = (_first_at(wanted, lambda c, k=k: at_best_size(fit, spend, c)[k]) for k in (2, 3, 4))
    if not np.isfinite(flops).all():
        least = np.nanmin(at_best_size(fit, spend, SCAN)[2])
        raise ValueError(
            f"loss={wanted[~np.isfinite(flops)][0]:g} is out of reach: under these terms the law predicts "
            f"no less than {least:.4g}"
        )
    n_params, n_tokens = at_best_size(fit, spend, flops)[:2]
    return TrainingBudget(
        *[shaped_like(loss, v) for v in (wanted, flops, lo, hi, n_params, n_tokens)], level=fit.level
    )


def next_percent(fit: Fit, flops, percent: float = 1.0, **terms) -> Improvement:
    """What the next per cent of loss costs at each budget.

    By Chinchilla's law, with the best loss L = E + K C^-gamma, it takes (1 - s L / (L - E))^(-1/gamma) times
    the compute to lower it by the share s.

    Args:
      flops: budgets so far, a scalar or an array.
      terms: what they may be spent on; see `frontier.spending`.

    Raises:
      ValueError: a budget that is not positive, a percent outside (0, 100), or terms that are refused.
    """
    budget = check_positive("flops", flops).ravel()
    if not 0 < percent < 100:
        raise ValueError(f"percent={percent}; it must lie between 0 and 100")
    spend = spending(fit, **terms)
    theta = np.vstack([fit.forecast.theta, forecast_draws(fit, spend)])
    best = _best_losses(spend, theta, np.broadcast_to(budget, (len(theta), len(budget))))
    factor = _reached(spend, theta, (1 - percent / 100) * best, budget, FAR * budget) / budget
    found = (budget, best[0], factor[0], *interval(factor[1:], fit.level))
    return Improvement(*[shaped_like(flops, value) for value in found], percent=percent, level=fit.level)


def _first_at(wanted: np.ndarray, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The least budget at which `value` is at most what is wanted; infinite where there is none."""
    losses_there = value(SCAN)
    if np.isnan(losses_there).all():
        return np.full(len(wanted), np.nan)
    reached = losses_there[:, None] <= wanted
    first = reached.argmax(axis=0)
    low, high = SCAN[np.maximum(first - 1, 0)], SCAN[first]
    for _ in range(HALVINGS):
        middle = np.sqrt(low * high)
        enough = value(middle) <= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(reached.any(axis=0), high, np.inf)


def _reached(spend: Spending, theta: np.ndarray, loss: np.ndarray, low, high) -> np.ndarray:
    """The budget from low to high [budgets] whose best loss is `loss` [thetas, budgets]; infinite if none."""
    low, high = np.broadcast_to(low, loss.shape), np.broadcast_to(high, loss.shape)
    never = _best_losses(spend, theta, high) > loss
    for _ in range(HALVINGS):
        middle = np.sqrt(low * high)
        enough = _best_losses(spend, theta, middle) <= loss
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(never, np.inf, high)


def _best_losses(spend: Spending, theta: np.ndarray, flops: np.ndarray) -> np.ndarray:
    return losses(spend, theta, best_sizes(spend, theta, flops), flops)
