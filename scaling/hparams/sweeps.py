"""Sweeps in a table of runs: which rows are settings tried at one size."""

from dataclasses import replace

import numpy as np
import pandas as pd

from scaling.table.cell_values import OUT_OF_PROPORTION, far_off, name_rows, numbers
from scaling.table.runs import Runs, finished, post_trained

AXES = ("lr", "batch_tokens")
MIN_SETTINGS = 3
# What a law of the rate cannot cover: runs that differ in one of these have laws of their own.
APART = ("parametrization", "family", "optimizer", "optimizer.name", "schedule", "schedule.name")
SAME = 0.02  # runs whose N and D agree within this ratio belong to one sweep


def swept(runs: Runs) -> Runs:
    """Finished runs with a setting: n_params, n_tokens, loss, and those of `AXES` that are given, as numbers.

    Those that were post-trained, where others were not, are left out: their loss is of another kind.

    Raises:
      ValueError: the table gives neither learning rate nor batch.
    """
    runs = runs.without(post_trained(runs.table), "post-trained, with a loss of its own")
    runs = runs.without(numbers(runs.table["loss"]) <= 0, "loss is not positive")
    table = pd.DataFrame({name: runs.table[name] for name in ("n_params", "n_tokens", "loss")})
    for axis in [axis for axis in AXES if axis in runs.table]:
        values = np.asarray(pd.to_numeric(runs.table[axis], errors="coerce"), float)
        if np.any(values > 0):
            table[axis] = values
    given = [axis for axis in AXES if axis in table]
    if not given:
        raise ValueError(
            "no column lr or batch_tokens with a positive number; name it with --columns lr=…,batch_tokens=…"
        )
    lost = ~finished(runs.table)
    settings = table[given].to_numpy()
    odd = np.any(~(np.isfinite(settings) & (settings > 0)), axis=1)
    kept = replace(runs, table=table).without(lost, "diverged or not finished")
    kept = kept.without(odd[~lost], f"without a positive {' or '.join(given)}")
    for axis in given:
        far = far_off(kept.table[axis].to_numpy())
        kept = replace(kept, notes=(*kept.notes, *name_rows(kept.table, far, axis, OUT_OF_PROPORTION)))
        kept = kept.without(far, f"{axis} {OUT_OF_PROPORTION}")
    return kept


def find_sweeps(table: pd.DataFrame) -> tuple[tuple[str, ...], list[pd.DataFrame]]:
    """(the axes that were swept, the sweeps: runs of equal N and D at three or more settings).

    An axis is swept where some N and D have three values of it. One that is given but not swept separates
    sweeps of equal N and D.

    Raises:
      ValueError: there is no such sweep.
    """
    given = [axis for axis in AXES if axis in table]
    tried = table.groupby(bins(table, ["n_params", "n_tokens"]))[given].nunique().to_numpy()
    axes = tuple(axis for axis, counts in zip(given, tried.T) if np.any(counts >= MIN_SETTINGS))
    fixed = [axis for axis in given if axis not in axes]
    together = bins(table, ["n_params", "n_tokens", *fixed])
    groups = [group for _, group in table.groupby(together)] if axes else []
    groups = [group for group in groups if len(np.unique(group[list(axes)], axis=0)) >= MIN_SETTINGS]
    if not groups:
        raise ValueError(
            f"no sweep: no (n_params, n_tokens) has {MIN_SETTINGS} finished values of {' or '.join(given)}"
        )
    return axes, groups


def apart(runs: Runs) -> tuple[list[str], dict[str, Runs]]:
    """(the columns of APART in which the runs differ; by their values, joined, the runs that agree in them).

    Runs that all agree are one group, "".
    """
    columns = [name for name in APART if name in runs.table and len(set(map(str, runs.table[name]))) > 1]
    if not columns:
        return [], {"": runs}
    names = runs.table[columns].astype(str).agg(", ".join, axis=1)
    return columns, {
        name: replace(runs, table=runs.table[(names == name).to_numpy()]) for name in sorted(names.unique())
    }


def check_apart(runs: Runs) -> None:
    """Refuses runs that no one law covers.

    Raises:
      ValueError: they differ in a column of APART.
    """
    columns, groups = apart(runs)
    if columns:
        raise ValueError(
            f"{', '.join(columns)} is {' or '.join(groups)}; each has laws of its own: use fit_groups"
        )


def off_best_setting(table: pd.DataFrame) -> np.ndarray:
    """Which runs have another setting than the best run of their N and D [rows]."""
    loss = table["loss"].fillna(np.inf)
    best = loss.groupby([table["n_params"], table["n_tokens"]]).transform("idxmin").to_numpy()
    settings = [numbers(table[axis]) for axis in AXES if axis in table]
    return np.any([(setting != setting[best]) & ~np.isnan(setting) for setting in settings], axis=0)


def bins(table: pd.DataFrame, names: list[str]) -> np.ndarray:
    """A number for each row, equal where all the columns agree."""
    logs = np.round(np.log(table[names].to_numpy(float)) / SAME)
    return np.unique(logs, axis=0, return_inverse=True)[1].ravel()
