"""Runs that say little of well-made ones: starved of steps, mostly warm-up, or not the best of their sweep.

Each rule says what it found, run by run, and such runs are left out of laws of the loss. A rule that more
than a quarter of the runs break, or that would leave fewer than ten, leaves out none and is only said: they
are how this table was made. Of a sweep the best stays, however many others there are.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scaling.table.cell_values import numbers

FEW_STEPS = 100  # of the optimizer
# The best batch is 0.58 D^0.571 tokens (Li et al. 2025, arXiv 2503.04715); at ten times that the best run of
# their sweeps has a loss 2 to 5 % above the best of all batches.
BEST_BATCH, BEST_BATCH_EXPONENT, LARGE = 0.58, 0.571, 10.0
WARM_UP = 0.25  # of a run; long warm-ups of small runs bent Kaplan's exponents (Porian et al., 2406.19146)
ABOVE = 0.005  # of the loss, over the best of the same size and tokens: more than seeds do
MOST = 0.25  # of the runs
FEWEST = 10  # runs that have to be left
TUNED = 10.0  # times the sizes or tokens that were tuned, beyond which rates are far from what was tried
SHOWN = 5  # runs named one by one for each rule; the rest is counted
# What makes runs of one size and tokens differ otherwise than by how well they were tuned, beside all words.
OTHER = (
    *("unique_tokens", "epochs", "d_model", "width", "n_layers", "depth"),
    *("n_experts", "top_k", "expansion", "granularity", "weight_bits"),
)

Found = tuple[np.ndarray, Sequence[str]]  # which rows [rows], and what is the matter with each of these


class Judgement(NamedTuple):
    """Of the rows of a table.

    Attributes:
      unfit: [rows], those to leave out.
      notes: the rules and the runs that break them, a line each.
      runs: those left out: run_id, n_params, n_tokens, lr and loss as far as known, and `why`.
    """

    unfit: np.ndarray
    notes: tuple[str, ...]
    runs: tuple[dict[str, Any], ...]


def judge(table: pd.DataFrame, columns: Sequence[str], keep_all: bool) -> Judgement:
    """Which finished runs a law of the loss is not fitted to, and why.

    Args:
      table: the runs; columns: that the law reads, of which no rule judges.
      keep_all: leave out none, but say which.
    """
    unfit, notes, runs = np.zeros(len(table), bool), [], []
    for rule, (find, most) in RULES.items():
        left = table.loc[~unfit]
        rows, what = find(left, columns)
        if not rows.any():
            continue
        too_many = rows.mean() > most or (most < 1 and np.sum(~rows) < FEWEST)
        kept = keep_all or too_many
        about = [_about(row) for row in left.loc[rows].to_dict("records")]
        said = f"{'kept' if kept else 'left out'} {rows.sum()} of {len(table)} rows: {rule}"
        if kept and not keep_all:
            said += "; without them too few would be left, so the law is of such runs, too"
        shown = [f"{_name(run)}: {each}" for run, each in zip(about[:SHOWN], what)]
        notes += [said, *shown, *([f"and {len(about) - SHOWN} more such rows"] if len(about) > SHOWN else [])]
        if not kept:
            unfit[np.flatnonzero(~unfit)[rows]] = True
            runs += [{**run, "why": each} for run, each in zip(about, what)]
    return Judgement(unfit, tuple(notes), tuple(runs))


def tuned_elsewhere(table: pd.DataFrame, tuned: np.ndarray, in_grid: np.ndarray) -> list[str]:
    """A line where a study's grid [rows] reaches much further than the runs [rows] that were tuned."""
    said = []
    for name in ("n_params", "n_tokens"):
        if not tuned.any() or name not in table:
            continue
        values = table[name].to_numpy(float)
        low, high = values[tuned].min(), values[tuned].max()
        far = in_grid & ((values > TUNED * high) | (values * TUNED < low))
        if far.any():
            said.append(
                f"{far.sum()} of {in_grid.sum()} rows have {name} more than {TUNED:g} times beyond what was "
                f"tuned ({low:.3g} to {high:.3g}): their hyperparameters are extrapolated"
            )
    return said


def _starved(table: pd.DataFrame, columns: Sequence[str]) -> Found:
    steps = _steps(table)
    if "batch_tokens" in columns or steps is None:
        return _nothing(table)
    d = numbers(table["n_tokens"])
    batch = d / steps
    rows = (steps < FEW_STEPS) | (batch > LARGE * BEST_BATCH * d**BEST_BATCH_EXPONENT)
    return rows, [f"{s:.4g} steps of {b:.4g} tokens" for s, b in zip(steps[rows], batch[rows])]


def _warming_up(table: pd.DataFrame, columns: Sequence[str]) -> Found:
    steps = _steps(table)
    tokens = numbers(table["n_tokens"]) if "n_tokens" in table else None
    for part, whole in (("tokens", tokens), ("steps", steps)):
        for name in (f"warmup_{part}", f"schedule.warmup_{part}"):
            if name in table and whole is not None:
                share = numbers(table[name]) / whole
                rows = share > WARM_UP
                return rows, [f"{each:.0%} of the run is warm-up" for each in share[rows]]
    return _nothing(table)


def _mistuned(table: pd.DataFrame, columns: Sequence[str]) -> Found:
    hyper = [name for name in ("lr", "batch_tokens") if name in table and name not in columns]
    place = [c for c in dict.fromkeys((*columns, "n_params", "n_tokens")) if c in table and c not in hyper]
    if not hyper or not {"n_params", "n_tokens"} <= set(place):
        return _nothing(table)
    kinds = [c for c in table if c not in place and (c in OTHER or _are_words(table, c))]
    same = [np.round(np.log(numbers(table[c])), 3) for c in ("n_params", "n_tokens")]
    same += [
        pd.factorize(table[c], use_na_sentinel=False)[0]
        for c in (*place, *kinds)
        if c not in ("n_params", "n_tokens")
    ]
    group = _numbered(same)
    settings = np.column_stack([numbers(table[c]) for c in hyper])
    setting, known = _numbered([settings]), np.asarray(np.isfinite(settings).all(axis=1))
    loss, order = numbers(table["loss"]), np.lexsort([numbers(table["loss"]), group])
    best = order[np.unique(group[order], return_index=True)[1]][group]  # the row of each one's group
    above = loss / loss[best] - 1
    rows = (above > ABOVE) & (setting != setting[best])  # another seed of the best setting stays
    rows &= known & known[best]
    return rows, [f"its loss is {each:.2%} above the best of its sweep" for each in above[rows]]


# What is wrong -> (which runs it is wrong with, the largest share of them that is left out).
RULES: Mapping[str, tuple[Callable[[pd.DataFrame, Sequence[str]], Found], float]] = {
    f"starved of steps (fewer than {FEW_STEPS}, or batches of more than {LARGE:g} times the best by "
    f"{BEST_BATCH:g} D^{BEST_BATCH_EXPONENT:g} tokens)": (_starved, MOST),
    f"a warm-up of fixed length is more than {WARM_UP:.0%} of the run": (_warming_up, MOST),
    f"mistuned (at another learning rate or batch, the same size and tokens have a loss {ABOVE:.1%} lower)": (
        _mistuned,
        1.0,
    ),
}


def _steps(table: pd.DataFrame) -> np.ndarray | None:
    """Of the optimizer [rows], by tokens and batch or as counted; None where the table has neither."""
    if "n_tokens" not in table:
        return None
    if "batch_tokens" in table:
        batch = numbers(table["batch_tokens"])
        return numbers(table["n_tokens"]) / np.where(batch > 0, batch, np.nan)  # what is none says nothing
    return numbers(table["n_steps"]) if "n_steps" in table else None


def _are_words(table: pd.DataFrame, name: str) -> bool:
    """Whether cells are words that come again, so that they may tell kinds of runs apart."""
    if pd.api.types.is_numeric_dtype(table[name]):
        return False
    return len(set(table[name].astype(str))) <= len(table) / 2


def _numbered(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Which of the different rows each row is [rows]."""
    return np.unique(np.column_stack(columns), axis=0, return_inverse=True)[1].ravel()


def _nothing(table: pd.DataFrame) -> Found:
    return np.zeros(len(table), bool), []


def _about(row: Mapping[str, Any]) -> dict[str, Any]:
    known = {"run_id": str, "n_params": float, "n_tokens": float, "lr": float, "loss": float}
    return {name: kind(row[name]) for name, kind in known.items() if name in row and not pd.isna(row[name])}


def _name(about: Mapping[str, Any]) -> str:
    if "run_id" in about:
        return f"run {about['run_id']}"
    return "the run of " + ", ".join(f"{k}={v:.4g}" for k, v in about.items() if k != "loss")
