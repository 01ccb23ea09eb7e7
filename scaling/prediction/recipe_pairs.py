"""Runs of two recipes that match: of one size, on as many tokens and, where seeds are known, of one seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scaling.table.cell_values import numbers
from scaling.table.runs import Runs, UsableRuns

SAME = 0.01  # sizes and tokens that differ by less, relatively, match: budgets are rounded to whole steps
TUNED = ("lr", "batch_tokens")  # of several of these at one size and length, the best is the recipe's


@dataclass(frozen=True)
class Cell:
    """Runs of both recipes at one size and length.

    Attributes:
      n_params, n_tokens: recipe A's; flops_a, flops_b: of a run of either.
      loss_a, loss_b: geometric means over the runs.
      differences: log loss of B less that of A: of each seed that both have, else of the means alone.
    """

    n_params: float
    n_tokens: float
    flops_a: float
    flops_b: float
    loss_a: float
    loss_b: float
    differences: tuple[float, ...]


def as_recipe(runs: Runs) -> UsableRuns:
    """The runs that speak for a recipe: finished, at their end, and at the best rate and batch of their size.

    Points of a curve before its last are left out, as is what was tried beside the best; N are the active
    parameters where the table has them.
    """
    needed = ("n_params", "n_tokens", "flops")
    usable = runs.usable(columns=needed, positive=needed)
    if "n_active" in usable.table:
        active = usable.table["n_active"].fillna(usable.table["n_params"]).astype(float)
        usable = replace(usable, table=usable.table.assign(n_params=active))
    tokens, run = usable.table["n_tokens"].to_numpy(float), usable.run_numbers
    ends = np.zeros(run.max(initial=-1) + 1)
    np.maximum.at(ends, run, tokens)
    usable = usable.without(tokens < ends[run], "points before a run's end")
    table = usable.table
    tried = [name for name in TUNED if name in table and np.isfinite(numbers(table[name])).all()]
    if not tried or table.empty:
        return usable
    size = _numbered(_places(table).round(3))
    way = _numbered(np.column_stack([size, table[tried].to_numpy(float)]))
    log_loss = np.log(table["loss"].to_numpy(float))
    mean = np.bincount(way, log_loss) / np.bincount(way)
    best = np.full(size.max() + 1, np.inf)
    np.minimum.at(best, size, mean[way])
    return usable.without(
        mean[way] > best[size], f"another {' or '.join(tried)} did better at their size and length"
    )


def _places(table: pd.DataFrame) -> np.ndarray:
    """log size and log tokens [rows, 2]."""
    return np.log(table[["n_params", "n_tokens"]].to_numpy(float))


def _numbered(rows: np.ndarray) -> np.ndarray:
    """A number for each of the different rows [rows]."""
    return np.unique(rows, axis=0, return_inverse=True)[1].ravel()


def find_cells(a: pd.DataFrame, b: pd.DataFrame) -> list[Cell]:
    """Sizes and lengths that both recipes have, by compute.

    Args:
      a, b: usable runs of either: n_params, n_tokens, flops, loss and, if known, seed.
    """
    at_a, at_b = _places(a), _places(b)
    cells, left, size = [], np.ones(len(b), bool), _numbered(at_a.round(3))
    for number in range(size.max(initial=-1) + 1):
        here = size == number
        near = left & (np.abs(at_b - at_a[here].mean(axis=0)) < SAME).all(axis=1)
        if near.any():
            left &= ~near
            cells.append(_cell(a.loc[here], b.loc[near]))
    return sorted(cells, key=lambda cell: cell.flops_a)


def _cell(a: pd.DataFrame, b: pd.DataFrame) -> Cell:
    loss_a, loss_b = (np.exp(np.log(of["loss"].to_numpy(float)).mean()) for of in (a, b))
    differences = [np.log(loss_b / loss_a)]
    if "seed" in a and "seed" in b:
        by_seed = [_by_seed(of) for of in (a, b)]
        if shared := [seed for seed in by_seed[0] if seed in by_seed[1]]:
            logs_a, logs_b = (np.array([of[seed] for seed in shared]) for of in by_seed)
            loss_a, loss_b = np.exp(logs_a.mean()), np.exp(logs_b.mean())
            differences = logs_b - logs_a
    size, length, flops_a = a[["n_params", "n_tokens", "flops"]].to_numpy(float).mean(axis=0)
    means = (size, length, flops_a, b["flops"].to_numpy(float).mean(), loss_a, loss_b)
    return Cell(*(float(mean) for mean in means), differences=tuple(float(d) for d in differences))


def _by_seed(table: pd.DataFrame) -> dict[float, float]:
    """Mean log loss of each seed."""
    logs: dict[float, list[float]] = {}
    for seed, loss in zip(table["seed"], table["loss"]):
        logs.setdefault(seed, []).append(float(np.log(loss)))
    return {seed: float(np.mean(of)) for seed, of in logs.items()}


def scatter(cells: Sequence[Cell]) -> tuple[float, int]:
    """(sum of squares of differences within their cells, its degrees of freedom)."""
    each = [np.array(cell.differences) for cell in cells]
    return float(sum(((d - d.mean()) ** 2).sum() for d in each)), sum(len(d) - 1 for d in each)
