"""Families of models against each other: one law each, compared at equal compute and at equal size.

N is the number of active parameters, so that a mixture of experts is charged for what a token is multiplied
with, as its FLOPs are.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scaling.fitting.fit import fit
from scaling.fitting.result import Fit
from scaling.optimum.frontier import draws, frontier
from scaling.table.runs import Runs

POINTS = 24  # of a drawn frontier
BEYOND = 1.6  # frontiers reach this factor past the budgets that were tried
FAR = 100.0  # a family is worth at most this many times the compute of the reference, or this part of it


@dataclass(frozen=True, eq=False)
class Comparison:
    """`reference` is the family that the others are measured by, the first in the table.

    frontiers: family, flops, n_params, n_lo, n_hi, n_tokens, loss, lo, hi, and worth, worth_lo, worth_hi: how
      many times the compute the reference needs for the same loss (interval of the laws' parameters).
    sizes: family, n_params, loss, lo, hi at `n_tokens` tokens each, the reference's optimum at the largest
      budget.
    """

    reference: str
    fits: dict[str, Fit]
    frontiers: pd.DataFrame
    sizes: pd.DataFrame
    n_tokens: float


def compare(runs: Runs, *, n_bootstrap: int = 1000, seed: int = 0, level: float = 0.9) -> Comparison:
    """Fits Chinchilla's law to every family of the table (column "family") and compares them.

    Args:
      runs: with the columns family and, where it differs from n_params, n_active.
      n_bootstrap: resamples behind the intervals; seed: of them; level: of the intervals.

    Raises:
      ValueError: fewer than two families, too few runs of one, or no resamples.
    """
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap={n_bootstrap}; a comparison has intervals, which take 1 or more")
    usable = runs.usable()
    names = list(dict.fromkeys(usable.table["family"])) if "family" in usable.table else []
    if len(names) < 2:
        raise ValueError(f"comparing families takes at least two in the column 'family'; found {names}")
    parts = {name: of_family(usable, name) for name in names}
    fits = {
        name: fit(part, relax=False, n_bootstrap=n_bootstrap, seed=seed, level=level)
        for name, part in parts.items()
    }
    lows, highs = zip(*((part.table.flops.min(), part.table.flops.max()) for part in parts.values()))
    flops = np.geomspace(max(lows) / BEYOND, min(highs) * BEYOND, POINTS)
    reference = names[0]
    frontiers = [
        _frontier(fits[name], flops).assign(family=name, **_worth(fits[name], fits[reference], flops, level))
        for name in names
    ]
    n_tokens = float(frontier(fits[reference], min(highs)).n_tokens)
    tried = np.concatenate([part.table["n_params"].to_numpy(float) for part in parts.values()])
    n_params = np.geomspace(tried.min(), tried.max(), POINTS)
    sizes = [
        pd.DataFrame(fits[name].predict(n_params, np.full(POINTS, n_tokens))._asdict()).assign(
            family=name, n_params=n_params
        )
        for name in names
    ]
    return Comparison(reference, fits, pd.concat(frontiers), pd.concat(sizes), n_tokens)


def of_family(runs: Runs, name: str) -> Runs:
    """The runs of one family, their N its active parameters."""
    table = runs.table[runs.table.family == name].reset_index(drop=True)
    conventions = dict(runs.conventions)
    if "n_active" in table:
        table = table.assign(n_params=table.n_active.astype(float))
        conventions["n_params"] = conventions.get("n_active", "active parameters")
    return replace(runs, table=table, conventions=conventions)


def _frontier(law: Fit, flops: np.ndarray) -> pd.DataFrame:
    best = frontier(law, flops)
    return pd.DataFrame({
        "flops": flops, "n_params": best.n_params, "n_lo": best.n_params_lo, "n_hi": best.n_params_hi,
        "n_tokens": best.n_tokens, "loss": best.loss, "lo": best.loss_lo, "hi": best.loss_hi,
    })  # fmt: skip


def _worth(law: Fit, reference: Fit, flops: np.ndarray, level: float) -> dict[str, np.ndarray]:
    """How many times the compute the reference needs for this law's best loss, with its interval.

    Draws of the two laws are paired at random, as the laws are fitted to different runs.
    """
    if law is reference:
        return dict.fromkeys(("worth", "worth_lo", "worth_hi"), np.ones(len(flops)))
    wide = np.geomspace(flops.min() / FAR, flops.max() * FAR, 4 * POINTS)
    _, losses = draws(law, flops)
    _, reference_losses = draws(reference, wide)
    worth = [
        np.exp(np.interp(-loss, -curve, np.log(wide))) / flops
        for loss, curve in zip(losses, reference_losses)
    ]
    lo, middle, hi = np.quantile(worth, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
    return {"worth": middle, "worth_lo": lo, "worth_hi": hi}
