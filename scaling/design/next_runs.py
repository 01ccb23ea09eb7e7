"""Which runs to make: a first grid, and then those that inform a target most for their FLOPs.

Measuring a run leaves the target the variance V - cov^2 / (variance of the run's loss + noise^2), where cov
is the covariance of the two (scaling/design/joint_covariance.py). That is Bayesian c-optimal design (Chaloner
and Verdinelli 1995, Statistical Science 10:273). Runs are chosen one by one, by the reduction of variance for
their FLOPs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from scaling import laws
from scaling.design.design_target import DesignTarget, find_target
from scaling.design.joint_covariance import JointCovariance, joint_covariance, remaining_variance
from scaling.fitting.result import Fit
from scaling.optimum.frontier import best_sizes, check_positive, spending
from scaling.table.runs import Runs

# The power of a run's FLOPs that its reduction of variance is divided by. With 1 most runs are so cheap that
# each informs little, and twice as many leave no less variance (benchmarks/scaling/design_gain.py).
COST_EXPONENT = 0.5
LEAST_REDUCTION = 0.005  # a run that reduces the target's variance by less than this share is not made
PER_DECADE, SIZES = 8, 9  # candidates: budgets a decade, and sizes at each …
SPREAD = 4.0  # … from a quarter of the best to four times
NEAREST = 0.5  # of the target's compute: a more expensive run is no preparation for it
BELOW = 3.0  # the cheapest candidate has this part of the compute of the cheapest run so far
TOKENS_PER_PARAM = 20.0  # near the optimum of most tables: Hoffmann et al. 2022 (arXiv 2203.15556), table 3


@dataclass(frozen=True, eq=False)
class DesignPlan:
    """Runs to make, and what they are expected to do.

    Attributes:
      runs: the law's columns and flops, a row a run, cheapest first.
      target: what is to be predicted better: its prediction now, with its interval.
      lo, hi: the interval expected around the same value once the runs are in; level: of both intervals.
    """

    runs: pd.DataFrame
    target: DesignTarget
    lo: float
    hi: float
    level: float


def first_grid(
    flops: float,
    target_flops: float,
    n_budgets: int = 5,
    n_sizes: int = 7,
    decades: float = 2.0,
    tokens_per_param: float = TOKENS_PER_PARAM,
) -> pd.DataFrame:
    """An IsoFLOP grid of `flops` in all, to begin with: n_params, n_tokens, flops (6·N·D), a row a run.

    Budgets are spaced evenly in log over `decades`; at each, sizes from a quarter to four times the one with
    `tokens_per_param`. Spend a part of the compute on it and the rest on what `next_runs` proposes.

    Args:
      flops: of all runs together.
      target_flops: compute of the run that is to be predicted.
      n_budgets, n_sizes: of the grid; decades: between its smallest and largest budget.
      tokens_per_param: of the middle size.

    Raises:
      ValueError: numbers out of range, or so much compute that the target itself could be run.
    """
    given = {"flops": flops, "target_flops": target_flops, "decades": decades}
    for name, value in (given | {"tokens_per_param": tokens_per_param}).items():
        check_positive(name, value)
    if n_budgets < 2 or n_sizes < 3:
        raise ValueError(
            f"n_budgets={n_budgets}, n_sizes={n_sizes}; a grid has at least 2 budgets of 3 sizes"
        )
    shares = np.logspace(-decades, 0, n_budgets)
    budgets = flops / (n_sizes * shares.sum()) * shares
    if budgets[-1] > target_flops:
        raise ValueError(
            f"flops={flops:g} makes a grid up to {budgets[-1]:.3g} FLOPs, beyond the target's "
            f"{target_flops:g}: run the target itself"
        )
    around = np.geomspace(1 / SPREAD, SPREAD, n_sizes)
    n_params = np.outer(np.sqrt(budgets / (6 * tokens_per_param)), around).round().ravel()
    n_tokens = (np.repeat(budgets, n_sizes) / (6 * np.maximum(n_params, 1))).round()
    if n_params.min() < 1 or n_tokens.min() < 1:
        raise ValueError(f"flops={flops:g} is too little for a grid of {len(n_params)} runs")
    return pd.DataFrame({"n_params": n_params, "n_tokens": n_tokens, "flops": 6 * n_params * n_tokens})


def next_runs(
    fit: Fit, runs: Runs, target: str, flops: float, sizes: Sequence[float] | None = None, **columns
) -> DesignPlan:
    """The runs that narrow the interval of a target most, for `flops` in all.

    Args:
      fit: a fit to `runs`, with draws.
      runs: the runs so far, as `scaling.read_runs` gives them.
      target: "loss@1e21" or "n_params@1e21", the lowest loss or the best size at a budget of FLOPs, or "a",
        the exponent of the best size (N* ~ C^a).
      flops: of all new runs together.
      sizes: the only values that n_params may take.
      columns: what else the law reads, the same for all new runs.

    Raises:
      ValueError: an unknown target, a fit without draws, or too few FLOPs for any run.
    """
    (budget,) = check_positive("flops", flops)
    wanted = find_target(fit, target, float(_fitted(fit, runs)["flops"].to_numpy().max()), **columns)
    table = candidates(fit, runs, min(float(budget), NEAREST * wanted.flops), sizes, **columns)
    joint = joint_covariance(fit, wanted, table)
    chosen = _choose(joint, table["flops"].to_numpy(), float(budget))
    new = table.iloc[chosen].sort_values("flops", ignore_index=True)
    if wanted.x:  # of a loss, whose interval now holds the noise and the law's errors that this fit has found
        joint = joint_covariance(fit, wanted, table, typical_runs=0)
        now = joint.shared[0, 0] + joint.floor  # by one form; what others add narrows as that does
    else:
        now = (wanted.half_width() / special.ndtri((1 + fit.level) / 2)) ** 2
    left = remaining_variance(joint, chosen) + joint.floor
    lo, hi = wanted.narrowed(min(float(np.sqrt(left / now)), 1.0))  # more runs make nothing less sure
    return DesignPlan(new, wanted, lo, hi, fit.level)


def worth_repeating(fit: Fit, runs: Runs, target: str, flops: float) -> pd.DataFrame:
    """The runs whose repetition under another seed narrows a target's interval most, for `flops` in all.

    A repeated run tells the noise apart from the errors of the law, which are the same at one place.

    Args:
      fit: a fit to `runs`, with draws.
      runs: the runs so far; the rows that the law is fitted to are returned, those of them that are chosen.
      target: see `next_runs`.
      flops: of all repeated runs together.

    Raises:
      ValueError: an unknown target, or a fit without draws.
    """
    table = _fitted(fit, runs)
    wanted = find_target(fit, target, float(table["flops"].to_numpy().max()))
    chosen = _choose(joint_covariance(fit, wanted, table), table["flops"].to_numpy(), flops)
    return table.iloc[chosen]


def candidates(
    fit: Fit, runs: Runs, flops: float, sizes: Sequence[float] | None = None, **columns
) -> pd.DataFrame:
    """Runs to choose from, up to `flops` each: the law's columns and flops (a token's as in the runs so far).

    Args: as in `next_runs`, but for `flops`.

    Raises:
      ValueError: the cheapest of them takes more than `flops`, or no size is near the best.
    """
    spend, fitted = spending(fit, **columns), _fitted(fit, runs)
    low = float(fitted["flops"].to_numpy().min()) / BELOW
    if flops < low:
        raise ValueError(f"flops={flops:g} is less than the smallest run worth making takes, {low:.3g}")
    budgets = np.geomspace(low, flops, 2 + int(PER_DECADE * np.log10(flops / low)))
    best = best_sizes(spend, fit.forecast.theta[None], budgets)[0]
    if sizes is None:
        n_params = np.outer(best, np.geomspace(1 / SPREAD, SPREAD, SIZES)).round()
    else:
        ladder = np.unique(check_positive("sizes", sizes))
        n_params = np.broadcast_to(ladder, (len(budgets), len(ladder)))
    n_tokens = spend.n_tokens(n_params, budgets[:, None]).round()
    near = (np.abs(np.log(n_params / best[:, None])) <= np.log(SPREAD) + 0.01) & (n_tokens >= 1)
    if not near.any():
        raise ValueError(f"no size is within {SPREAD:g} times the best of any budget up to {flops:g} FLOPs")
    x = spend.x(n_params[near], n_tokens[near])
    return pd.DataFrame({**x, "flops": x["n_tokens"] * spend.cost(x[spend.size])})


def _fitted(fit: Fit, runs: Runs) -> pd.DataFrame:
    """The runs that a law is fitted to."""
    law = laws.find(fit.law)
    return runs.usable(law.target, law.columns).table


def _choose(joint: JointCovariance, flops: np.ndarray, budget: float) -> list[int]:
    """Greedy: candidates one by one, none twice, by the reduction of variance for their FLOPs."""
    chosen: list[int] = []
    free, shared = np.ones(len(flops), bool), joint.shared
    while True:
        gain = shared[0, 1:] ** 2 / (np.diag(shared)[1:] + joint.noise)
        affordable = free & (gain > LEAST_REDUCTION * shared[0, 0]) & (flops <= budget - flops[chosen].sum())
        if not affordable.any():
            return chosen
        best = int(np.where(affordable, gain / flops**COST_EXPONENT, -1.0).argmax())
        chosen.append(best)
        free[best] = False
        column = shared[:, best + 1]
        shared = shared - np.outer(column, column) / (column[best + 1] + joint.noise[best])
