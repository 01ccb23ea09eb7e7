"""What a plan is to predict better: the loss or the best size at a budget, or the best size's exponent."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scaling.fitting.result import Fit
from scaling.optimum.frontier import Spending, best_sizes, check_positive, frontier, interval, spending

STEP = 10.0  # compute over which the exponent of the best size is taken


@dataclass(frozen=True, eq=False)
class DesignTarget:
    """A target as a fit predicts it.

    Attributes:
      name: as it was asked for.
      spend: what the budgets are spent on.
      value, lo, hi: the prediction with its interval (of a loss: for one new run).
      flops: the compute that it is of, infinite for the exponent.
      log: whether its errors are additive on a log scale.
      x: of a loss, the law's columns where it is predicted [1]; else None.
      of: (parameters [thetas, params]) -> the target, its logarithm if `log` [thetas]; for a loss None.
    """

    name: str
    spend: Spending
    value: float
    lo: float
    hi: float
    flops: float
    log: bool
    x: dict[str, np.ndarray] | None = None
    of: Callable[[np.ndarray], np.ndarray] | None = None

    def narrowed(self, share: float) -> tuple[float, float]:
        """The interval with both ends at this share of their distance, on the scale of additive errors."""
        if self.log:
            ends = [self.value * (end / self.value) ** share for end in (self.lo, self.hi)]
        else:
            ends = [self.value + (end - self.value) * share for end in (self.lo, self.hi)]
        return float(ends[0]), float(ends[1])

    def half_width(self) -> float:
        """Half the interval, on the scale on which errors are additive."""
        return float(np.log(self.hi / self.lo) if self.log else self.hi - self.lo) / 2


def find_target(fit: Fit, name: str, largest: float, **columns) -> DesignTarget:
    """The target that a name stands for.

    Args:
      fit: a fit with draws.
      name: "loss@1e21" or "n_params@1e21", the lowest loss or the best size at a budget of FLOPs, or "a", the
        exponent of the best size (N* ~ C^a) beyond the largest run.
      largest: FLOPs of the largest run so far.
      columns: what else the law reads.

    Raises:
      ValueError: no such target, or a fit without draws.
    """
    if not len(fit.forecast.samples):
        raise ValueError("the fit has no draws; fit again with n_bootstrap=1000")
    spend = spending(fit, **columns)

    def log_size(theta: np.ndarray, flops: float) -> np.ndarray:
        """Log of the best size at a budget [thetas]."""
        return np.log(best_sizes(spend, theta, np.array([flops])))[:, 0]

    def exponent(theta: np.ndarray) -> np.ndarray:
        """Of the best size over a factor STEP of compute [thetas]."""
        return (log_size(theta, STEP * largest) - log_size(theta, largest)) / np.log(STEP)

    if name == "a":
        (lo,), (hi,) = interval(exponent(fit.forecast.samples)[:, None], fit.level)
        value = exponent(fit.forecast.theta[None])[0]
        _check(name, value)
        return DesignTarget(name, spend, float(value), float(lo), float(hi), np.inf, False, of=exponent)
    what, _, number = name.partition("@")
    if what not in ("loss", "n_params") or not _is_number(number):
        raise ValueError(
            f"target {name!r}; expected loss@FLOPS or n_params@FLOPS, such as loss@1e21, or the exponent a"
        )
    flops = float(check_positive(f"the FLOPs of target {name}", float(number))[0])
    best = frontier(fit, flops, **columns)
    _check(name, best.n_params)
    if what == "n_params":
        sizes = (best.n_params, best.n_params_lo, best.n_params_hi)
        return DesignTarget(name, spend, *sizes, flops, True, of=lambda theta: log_size(theta, flops))
    x = spend.x(np.array([best.n_params]), np.array([best.n_tokens]))
    return DesignTarget(name, spend, best.loss, best.loss_lo, best.loss_hi, flops, True, x=x)


def _check(name: str, value: float) -> None:
    if not np.isfinite(value):
        raise ValueError(f"target {name}: the law knows no best size yet; add sizes on both sides")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
