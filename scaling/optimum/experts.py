"""How many experts: the best sparsity of a mixture of experts at a budget, and within a memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling import laws
from scaling.fitting.result import Fit
from scaling.optimum.frontier import (
    DRAWS,
    best_sizes,
    check_positive,
    frontier,
    losses,
    shaped_like,
    spending,
)

EXPERT_SHARE = 2 / 3  # of a block's parameters: a feed-forward of 8 d^2 beside an attention of 4 d^2


@dataclass(frozen=True)
class ExpertsOptimum:
    """The best number of experts, and what each choice comes to; arrays where `flops` is one.

    Attributes:
      n_experts: the choice of the lowest loss, and there: n_active, n_total, n_tokens, loss with the interval
        for one new run, and sparsity, the share of the parameters that a token does not meet.
      choices [choices]; choice_losses [choices, …]: the loss of each at its own best size.
      chances [choices, …]: the share of the draws of the law by which each choice is the best.
    """

    flops: Any
    n_experts: Any
    n_active: Any
    n_total: Any
    n_tokens: Any
    sparsity: Any
    loss: Any
    loss_lo: Any
    loss_hi: Any
    choices: np.ndarray
    choice_losses: np.ndarray
    chances: np.ndarray
    level: float


def best_experts(
    fit: Fit, flops, n_experts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64), max_total: float = np.inf, **terms
) -> ExpertsOptimum:
    """The number of experts of the lowest loss at each budget, each with the best size of its own.

    Of the active parameters EXPERT_SHARE are the one active expert's, so that n_total is n_active * (1 +
    EXPERT_SHARE * (n_experts - 1)). Without a limit on n_total the most experts usually win. Within one, they
    leave less for a token to meet but save compute, which buys tokens: Ludziejewski et al. 2025 (arXiv
    2502.05172).

    Args:
      fit: of a law of n_active, n_tokens and n_experts, or expansion, which is n_experts of full width.
      max_total: the most parameters that fit the memory, active or not.
      terms: what else a budget may be spent on; see `frontier.spending`.

    Raises:
      ValueError: a law that does not read these, or numbers that are not positive.
    """
    choices, budget = (
        np.unique(check_positive("n_experts", n_experts)),
        check_positive("flops", flops).ravel(),
    )
    check_positive("max_total", np.minimum(max_total, 1e300))
    column = "expansion" if "expansion" in laws.find(fit.forecast.law).columns else "n_experts"
    optima, drawn = [], []
    for each, growth in zip(choices, _growth(choices)):
        limits = terms | {
            column: each,
            "max_params": min(terms.get("max_params", np.inf), max_total / growth),
        }
        optima.append(frontier(fit, budget, **limits))
        spend, theta = spending(fit, **limits), fit.forecast.samples[:DRAWS]
        drawn.append(losses(spend, theta, best_sizes(spend, theta, budget), budget))
    found = {
        name: np.stack([getattr(optimum, name) for optimum in optima])
        for name in ("n_params", "n_tokens", "loss", "loss_lo", "loss_hi")
    }
    at = np.where(np.isnan(found["loss"]), np.inf, found["loss"]).argmin(axis=0)
    best = {name: value[at, np.arange(len(budget))] for name, value in found.items()}
    wins = np.argmin(drawn, axis=0) == np.arange(len(choices))[:, None, None]
    chances = wins.mean(axis=1) if wins.shape[1] else np.full(found["loss"].shape, np.nan)
    n_total = best["n_params"] * _growth(choices[at])
    sparsity = 1 - best["n_params"] / n_total
    ordered = (budget, choices[at], best["n_params"], n_total, best["n_tokens"], sparsity)
    rows = [shaped_like(flops, value) for value in (*ordered, best["loss"], best["loss_lo"], best["loss_hi"])]
    per_choice = [v.reshape(len(choices), *np.shape(flops)) for v in (found["loss"], chances)]
    return ExpertsOptimum(
        *rows, choices=choices, choice_losses=per_choice[0], chances=per_choice[1], level=fit.level
    )


def _growth(n_experts: np.ndarray) -> np.ndarray:
    """All parameters in units of the active ones."""
    return 1 + EXPERT_SHARE * (n_experts - 1)
