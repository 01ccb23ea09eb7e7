"""The compute-optimal model for a budget: size, tokens and loss, with intervals.

All of it comes from the fit's forecast, the law and the draws that losses are predicted with, so that the
best size and its loss fit together. Sizes are n_params, or n_active where the law reads that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import pandas as pd

from scaling import laws
from scaling.fitting.result import Fit
from scaling.laws import Columns, Law

GRID, ROUNDS = 49, 5  # sizes tried at once, and how often the search closes in on the best and its neighbours
SPAN = np.log(1e6)  # sizes from sqrt(C/6) / 1e6 to sqrt(C/6) * 1e6
DRAWS = 200  # samples behind an interval that has no closed form


@dataclass(frozen=True)
class Optimum:
    """The best split of a budget; arrays where `flops` is one.

    lo and hi of the sizes are parameter uncertainty alone, those of the loss are for one new run, with noise.
    NaN where the fit has no draws, and where the law knows no best size: its loss falls without end towards
    one side.
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

    def plot(self) -> Any:
        """Two small charts of altair's: best size and loss against compute, with their intervals."""
        from scaling import notebook

        return notebook.frontier_chart(self._table())

    def _repr_html_(self) -> str:
        from scaling import notebook

        table = self._table()
        columns = {
            name: [
                notebook.with_interval(row, digits)
                for row in table[[name, f"{name}_lo", f"{name}_hi"]].itertuples(index=False)
            ]
            for name, digits in (("n_params", 3), ("n_tokens", 3), ("loss", 4))
        }
        rows = pd.DataFrame({"flops": [f"{c:.4g}" for c in table["flops"]], **columns}).to_dict("records")
        return notebook.html(f"best split of a budget, {100 * self.level:.6g}% intervals", rows)

    def _table(self) -> pd.DataFrame:
        """A row a budget."""
        fields = {name: np.atleast_1d(value) for name, value in vars(self).items() if name != "level"}
        return pd.DataFrame(fields)


def frontier(
    fit: Fit,
    flops,
    flops_per_token: Callable[[np.ndarray], np.ndarray] | None = None,
    sizes: Sequence[float] | np.ndarray | None = None,
    **terms,
) -> Optimum:
    """The N and D of the lowest loss that a budget buys, and the forecast of that loss.

    Args:
      flops: budget, a scalar or an array.
      flops_per_token, sizes, terms: what it may be spent on; see `spending`.

    Raises:
      ValueError: a budget that is not positive and finite, or terms that are refused.
    """
    budget = check_positive("flops", flops).ravel()
    spend = spending(fit, flops_per_token, sizes, **terms)
    n_params, n_tokens, *loss = at_best_size(fit, spend, budget)
    n_drawn = best_sizes(spend, forecast_draws(fit, spend), budget)
    d_drawn = spend.n_tokens(n_drawn, budget)
    found = (budget, n_params, *interval(n_drawn, fit.level), n_tokens, *interval(d_drawn, fit.level), *loss)
    return Optimum(*[shaped_like(flops, value) for value in found], level=fit.level)


def draws(fit: Fit, flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Optimal N and the loss there by each of the forecast's draws, [draws, budgets] both."""
    spend = spending(fit)
    theta = forecast_draws(fit, spend)
    n_params = best_sizes(spend, theta, flops)
    return n_params, losses(spend, theta, n_params, flops)


@dataclass(frozen=True, eq=False)
class Spending:
    """What a budget is spent on; see `spending`."""

    law: Law
    flops_per_token: Callable[[np.ndarray], np.ndarray] | None
    sizes: np.ndarray | None
    max_params: float
    max_tokens: float
    inference_tokens: float
    columns: Mapping[str, float]

    @property
    def size(self) -> str:
        """The column that is the model's size."""
        return self.law.size or "n_params"

    def n_tokens(self, n_params: np.ndarray, flops: np.ndarray) -> np.ndarray:
        """Tokens that a budget pays for at these sizes, up to the limit; not positive where it pays none.

        A token served costs a third of one trained on, 2N of 6N.
        """
        return np.minimum(flops / self.cost(n_params) - self.inference_tokens / 3, self.max_tokens)

    def cost(self, n_params: np.ndarray) -> np.ndarray:
        """FLOPs of training on a token at these sizes."""
        return 6.0 * n_params if self.flops_per_token is None else self.flops_per_token(n_params)

    def x(self, n_params: np.ndarray, n_tokens: np.ndarray) -> dict[str, np.ndarray]:
        """The law's columns."""
        x = {self.size: n_params, "n_tokens": n_tokens}
        return x | {name: np.full(np.shape(n_params), value) for name, value in self.columns.items()}


def spending(
    fit: Fit,
    flops_per_token: Callable[[np.ndarray], np.ndarray] | None = None,
    sizes: Sequence[float] | np.ndarray | None = None,
    *,
    max_params: float = np.inf,
    max_tokens: float = np.inf,
    inference_tokens: float = 0.0,
    **columns: float,
) -> Spending:
    """What a budget may be spent on.

    Args:
      flops_per_token: training FLOPs a token as a function of n_params, elementwise; if not given, as the
        fitted runs were counted (`Fit.flops_per_token`), or 6·N, for which some laws have a closed form
        (`Law.best_size`).
      sizes: the only values n_params may take: a ladder of models, or the one that is given.
      max_params, max_tokens: upper limits, of memory and of data. Where both bind, budget is left over. Under
        a law that knows the worth of repeated tokens (data_constrained), give unique_tokens instead.
      inference_tokens: tokens served over the model's life, which the budget pays for as well: 6·N·D +
        2·N·inference_tokens, Sardana & Frankle 2024 (arXiv 2401.00448), eq. 2.
      columns: what else the law reads, for example n_experts=8 or unique_tokens=1e11.

    Raises:
      ValueError: a limit that is not positive, a column that is missing or that the law does not read, or a
        law without size and tokens to choose between.
    """
    law = laws.find(fit.forecast.law)
    size = law.size
    if size is None or "n_tokens" not in law.columns or law.scale != "log":
        raise ValueError(
            f"the law {fit.law} predicts {law.target} from {', '.join(law.columns)}; only a law of loss by "
            "n_params (or n_active) and n_tokens can split a budget"
        )
    others = set(law.columns) - {size, "n_tokens"}
    if others != set(columns):
        raise ValueError(
            f"splitting a budget by the law {fit.law} takes {', '.join(sorted(others)) or 'no other columns'}"
            f" to be given, not {', '.join(sorted(columns)) or 'nothing'}"
        )
    flops_per_token = flops_per_token or fit.flops_per_token
    if law.idle_params and flops_per_token is None:
        raise ValueError(f"the law {fit.law} counts idle experts in n_params; give flops_per_token")
    check_positive("max_params", np.minimum(max_params, 1e300))
    check_positive("max_tokens", np.minimum(max_tokens, 1e300))
    if not 0 <= inference_tokens < np.inf:
        raise ValueError(f"inference_tokens={inference_tokens}; it must be 0 or more, and finite")
    ladder = None if sizes is None else np.sort(check_positive("sizes", sizes))
    if ladder is not None:
        ladder = ladder[ladder <= max_params]
        if not len(ladder):
            raise ValueError(f"none of the sizes is at most max_params={max_params:g}")
    return Spending(law, flops_per_token, ladder, max_params, max_tokens, inference_tokens, columns)


def forecast_draws(fit: Fit, spend: Spending) -> np.ndarray:
    """The forecast's draws [draws, params]: all where the best size has a closed form, else the first."""
    return fit.forecast.samples if _closed_form(spend) else fit.forecast.samples[:DRAWS]


def at_best_size(fit: Fit, spend: Spending, flops: np.ndarray) -> list[np.ndarray]:
    """n_params, n_tokens, loss, loss_lo, loss_hi at the best size of each budget [budgets]."""
    n_params = best_sizes(spend, fit.forecast.theta[None], flops)[0]
    known = np.isfinite(n_params)
    n_tokens = spend.n_tokens(n_params, flops)
    predicted = fit.predict(**spend.x(np.where(known, n_params, 1.0), np.where(known, n_tokens, 1.0)))
    return [n_params, n_tokens, *[np.where(known, value, np.nan) for value in predicted]]


def best_sizes(spend: Spending, theta: np.ndarray, flops: np.ndarray) -> np.ndarray:
    """N of the lowest loss [thetas, budgets] by each of the parameters [thetas, params].

    NaN where no token can be paid for, and where the loss falls up to the end of the sizes tried, unless a
    limit ends them.

    Args:
      flops: budgets [budgets], or of each of the parameters [thetas, budgets].
    """
    flops = np.broadcast_to(flops, (len(theta), np.shape(flops)[-1]))
    closed = _closed_form(spend)
    if closed:
        return closed(theta, flops)
    if spend.sizes is not None:
        trial = np.broadcast_to(spend.sizes, (*flops.shape, len(spend.sizes)))
        loss = losses(spend, theta, trial, flops[..., None])
        return np.where(loss.min(axis=-1) < np.inf, spend.sizes[loss.argmin(axis=-1)], np.nan)
    with np.errstate(divide="ignore"):
        served = np.log(flops / 2) - np.log(spend.inference_tokens)  # at this size nothing is left to train
    # Where tokens are few the best size is the one that spends the budget on all of them.
    middle = np.maximum(0.5 * np.log(flops / 6), np.log(flops / 6) - np.log(spend.max_tokens))
    middle = np.minimum(middle, served)
    limit = np.log(spend.max_params)
    low, high = np.minimum(middle, limit) - SPAN, np.minimum(middle + SPAN, limit)
    unbounded = np.zeros(flops.shape, bool)
    for i in range(ROUNDS):
        trial = low[..., None] + (high - low)[..., None] * np.linspace(0, 1, GRID)
        at = losses(spend, theta, np.exp(trial), flops[..., None]).argmin(axis=-1)
        if i == 0:
            unbounded = (at == 0) | ((at == GRID - 1) & (high < limit))
        low, best, high = (
            np.take_along_axis(trial, np.clip(at + k, 0, GRID - 1)[..., None], -1)[..., 0] for k in (-1, 0, 1)
        )
    return np.where(unbounded, np.nan, np.exp(best))


def losses(spend: Spending, theta: np.ndarray, n_params: np.ndarray, flops: np.ndarray) -> np.ndarray:
    """Loss of each of the parameters [thetas, params] at its own sizes and budgets [thetas, …].

    Infinite where the budget pays for no token.

    Args:
      spend: what budgets are spent on; theta: [thetas, params].
      n_params, flops: [thetas, …], of one shape or broadcasting to it.
    """
    n_tokens = spend.n_tokens(n_params, flops)
    x = spend.x(n_params, np.where(n_tokens > 0, n_tokens, 1.0))
    with jax.enable_x64(True):
        loss = np.asarray(_each(spend.law, np.float64(theta), {k: np.float64(v) for k, v in x.items()}))
    return np.where((n_tokens > 0) & np.isfinite(loss), loss, np.inf)


@partial(jax.jit, static_argnames="law")
def _each(law: Law, theta, x: Columns):
    return jax.vmap(law.value)(theta, x)


def _closed_form(spend: Spending) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """The law's own formula of the best size, where it holds: 6·N·D FLOPs and no limits."""
    limited = spend.sizes is not None or spend.inference_tokens or spend.flops_per_token is not None
    return None if limited or min(spend.max_params, spend.max_tokens) < np.inf else spend.law.best_size


def interval(drawn: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The interval of each column of draws [draws, budgets]; draws without a value (NaN) are left out."""
    known = drawn[~np.isnan(drawn).any(axis=1)]
    if not len(known):
        return np.full(drawn.shape[1], np.nan), np.full(drawn.shape[1], np.nan)
    # An element of the draws, not a mean of two: some may be infinite.
    lo, hi = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf")
    return lo, hi


def check_positive(name: str, value) -> np.ndarray:
    """As an array of at least one axis.

    Raises:
      ValueError: something in it is not positive and finite.
    """
    array = np.atleast_1d(np.asarray(value, float))
    if not np.all((array > 0) & np.isfinite(array)):
        raise ValueError(f"{name}={value}; it must be positive and finite")
    return array


def shaped_like(given, value: np.ndarray):
    """In the shape of what was given: a float for a scalar."""
    shape = np.shape(given)
    return np.reshape(value, shape) if shape else float(value[0])
