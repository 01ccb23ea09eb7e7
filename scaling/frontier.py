"""The compute-optimal model for a budget: size, tokens and loss, with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling import laws
from scaling.fit import Fit
from scaling.solver import values

GRID = 257  # sizes tried at once; the best of them and its neighbours carry a parabola
SPAN = np.log(1e4)  # sizes from sqrt(C/6) / 1e4 to sqrt(C/6) * 1e4 …
ZOOM = 2 * SPAN / 64  # … then ever finer around the best
DRAWS = 200  # samples behind an interval that has no closed form


@dataclass(frozen=True)
class Optimum:
    """The best split of a budget; arrays where `flops` is one.

    lo and hi of the sizes are parameter doubt alone, those of the loss are for one new run, noise included.
    NaN where the fit has no draws.
    """

    flops: Any
    n_params: Any
    n_params_lo: Any
    n_params_hi: Any
    n_tokens: Any
    n_tokens_lo: Any
    n_tokens_hi: Any
    loss: Any
    loss_lo: Any
    loss_hi: Any
    level: float


def frontier(
    fit: Fit,
    flops,
    flops_per_token: Callable[[np.ndarray], np.ndarray] | None = None,
    sizes: Sequence[float] | None = None,
) -> Optimum:
    """Optimal N and D by the law's parameters, and the forecast of the loss there.

    Args:
      flops: budget, a scalar or an array.
      flops_per_token: training FLOPs a token as a function of n_params [k] -> [k]; 6·N if not given, for
        which Chinchilla's law has a closed form (Hoffmann et al. 2022, eq. 4).
      sizes: the only values n_params may take (a ladder of models).

    Raises:
      ValueError: a budget that is not positive and finite.
    """
    budget = np.atleast_1d(np.asarray(flops, float)).ravel()
    if not np.all((budget > 0) & np.isfinite(budget)):
        raise ValueError(f"flops={flops}; a budget must be positive and finite")
    cost = flops_per_token or (lambda n_params: 6.0 * n_params)
    theta = np.array(list(fit.params.values()))[None]
    solve = _numeric
    if fit.law == "chinchilla" and flops_per_token is None and sizes is None:
        solve = closed_form if np.isfinite(closed_form(fit, theta, budget)).all() else _numeric
    drawn = fit.samples if solve is closed_form else fit.samples[:DRAWS]
    n_best = solve(fit, theta, budget, cost, sizes)[0]
    n_draws = solve(fit, drawn, budget, cost, sizes) if len(drawn) else None
    n_lo, n_hi = _ends(n_draws, fit.level, len(budget))
    d_lo, d_hi = _ends(None if n_draws is None else budget / cost(n_draws), fit.level, len(budget))
    n_tokens = budget / cost(n_best)
    told = fit.predict(n_best, n_tokens)
    shape = np.shape(flops)

    def like_flops(value):
        return np.reshape(value, shape) if shape else float(value[0])

    n_lo, n_best, n_hi, d_lo, n_tokens, d_hi = map(like_flops, (n_lo, n_best, n_hi, d_lo, n_tokens, d_hi))
    loss, loss_lo, loss_hi = map(like_flops, told)
    budget = like_flops(budget)
    return Optimum(budget, n_best, n_lo, n_hi, n_tokens, d_lo, d_hi, loss, loss_lo, loss_hi, fit.level)


def draws(
    fit: Fit, flops: np.ndarray, flops_per_token: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Optimal N and the loss there by each of the first bootstrap draws, [draws, budgets] both."""
    theta = fit.samples[:DRAWS]
    n_best = _numeric(fit, theta, flops, flops_per_token, None)
    return n_best, _losses(fit, theta, n_best[..., None], flops, flops_per_token)[..., 0]


def closed_form(fit: Fit, theta: np.ndarray, flops: np.ndarray, *_) -> np.ndarray:
    """N* = G (C/6)^a, G = (alpha A / (beta B))^(1/(alpha+beta)), a = beta/(alpha+beta): [thetas, budgets]."""
    _, A, B, alpha, beta = theta.T[:, :, None]
    with np.errstate(all="ignore"):
        log_g = (np.log(alpha * A) - np.log(beta * B)) / (alpha + beta)
        n_params = np.exp(log_g + beta / (alpha + beta) * np.log(flops / 6))
        return np.where(n_params > 0, n_params, np.nan)  # a law without A or B has no optimum


def _numeric(
    fit: Fit, theta: np.ndarray, flops: np.ndarray, cost: Callable, sizes: Sequence[float] | None
) -> np.ndarray:
    """N of the lowest loss with D = C / cost(N): [thetas, budgets]."""
    if sizes is not None:
        ladder = np.sort(np.asarray(sizes, float))
        losses = _losses(
            fit, theta, np.broadcast_to(ladder, (len(theta), len(flops), len(ladder))), flops, cost
        )
        return ladder[losses.argmin(axis=-1)]
    middle = np.broadcast_to(0.5 * np.log(flops / 6), (len(theta), len(flops)))
    for span in (SPAN, ZOOM, ZOOM / 64):
        log_n = middle[..., None] + np.linspace(-span, span, GRID)
        losses = _losses(fit, theta, np.exp(log_n), flops, cost)
        middle = np.take_along_axis(log_n, losses.argmin(axis=-1)[..., None], axis=-1)[..., 0]
    return np.exp(middle)


def _losses(
    fit: Fit, theta: np.ndarray, n_params: np.ndarray, flops: np.ndarray, cost: Callable
) -> np.ndarray:
    """Loss of each theta at its own sizes [thetas, budgets, sizes]."""
    n_tokens = flops[:, None] / cost(n_params)
    rows = [
        values(
            laws.find(fit.law),
            theta[i : i + 1],
            {"n_params": n_params[i].ravel(), "n_tokens": n_tokens[i].ravel()},
        )
        for i in range(len(theta))
    ]
    return np.stack(rows).reshape(n_params.shape)


def _ends(draws: np.ndarray | None, level: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The interval at each budget; a draw without an optimum (an exponent of 0) is left out."""
    known = np.zeros((0, n)) if draws is None else draws[np.isfinite(draws).all(axis=1)]
    if not len(known):
        return np.full(n, np.nan), np.full(n, np.nan)
    lo, hi = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return lo, hi
