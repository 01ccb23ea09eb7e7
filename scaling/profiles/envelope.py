"""Approach 1: the envelope of the runs, the best size at each compute.

Hoffmann et al. 2022 (arXiv 2203.15556), section 3.1, with the runs' ends or whole curves.
"""

import numpy as np

from scaling.profiles.isoflop import PowerLaw
from scaling.table.runs import UsableRuns

LEAST_SIZES = 3  # on the envelope
SAME_BUDGET = 1.02  # FLOPs this close are one budget: whole tokens and steps, or rounding, set them apart


def envelope(
    usable: UsableRuns, n_bootstrap: int = 200, seed: int = 0, level: float = 0.9
) -> PowerLaw | None:
    """Approach 1: N of the best run at each compute, as a power law of compute; None with too few sizes.

    A run is on the envelope if none that cost no more has a lower loss; each size on it counts once, at the
    geometric middle of the compute where it is best. Runs of nearly the same FLOPs cost the same, or rounding
    would decide which of a budget's sizes count. Intervals are by resampling runs, with all their rows.

    Args:
      usable: rows with flops, n_params and loss.
      n_bootstrap: resamples behind the interval; seed: of them; level: of the interval, between 0 and 1.
    """
    table, label = usable.table, usable.run_numbers
    log_c, *others = [np.log(table[name].to_numpy(float)) for name in ("flops", "n_params", "loss")]
    columns = [_budgets(log_c), *others]
    middle = _envelope_line(*columns)
    if middle is None:
        return None
    rng, slopes = np.random.default_rng(seed), []
    for _ in range(n_bootstrap):
        drawn = np.isin(label, rng.integers(0, label.max() + 1, label.max() + 1))
        line = _envelope_line(*[column[drawn] for column in columns])
        slopes += [line[0]] if line is not None else []
    enough = len(slopes) > n_bootstrap / 2
    lo, hi = np.quantile(slopes, [(1 - level) / 2, (1 + level) / 2]) if enough else (np.nan, np.nan)
    return PowerLaw(float(np.exp(middle[1])), float(middle[0]), float(lo), float(hi))


def _budgets(log_c: np.ndarray) -> np.ndarray:
    """log C with that of each budget in the place of its runs': the mean of those that cost the same."""
    order = np.argsort(log_c, kind="stable")
    ascending, budgets, start = log_c[order], np.empty_like(log_c), 0
    while start < len(ascending):
        end = np.searchsorted(ascending, ascending[start] + np.log(SAME_BUDGET), side="right")
        budgets[order[start:end]] = ascending[start:end].mean()
        start = end
    return budgets


def _envelope_line(log_c: np.ndarray, log_n: np.ndarray, log_loss: np.ndarray) -> np.ndarray | None:
    """(slope, height) of log N against log C along the envelope."""
    order = np.lexsort((log_loss, log_c))
    best = np.minimum.accumulate(log_loss[order])
    on = order[(log_loss[order] <= best) & np.r_[True, best[1:] < best[:-1]]]
    until = np.r_[log_c[on][1:], log_c.max()]
    sizes, size = np.unique(log_n[on], return_inverse=True)
    if len(sizes) < LEAST_SIZES:
        return None
    begin, end = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
    np.minimum.at(begin, size, log_c[on])
    np.maximum.at(end, size, until)
    # Where the ends are best is cut off by the runs' range.
    inner = slice(1, -1) if len(sizes) > LEAST_SIZES + 1 else slice(None)
    return np.polyfit((begin + end)[inner] / 2, sizes[inner], 1)
