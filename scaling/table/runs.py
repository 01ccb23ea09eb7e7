"""The table of runs: read, check, say what its numbers mean.

One row is one training run (or one point on its curve). Rows that cannot be used are named and left
out, never repaired in silence; tables that cannot be used are refused with one line.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from scaling.table.cell_values import (
    is_given,
    name_rows,
    numbers,
    numbers_and_doubts,
    reading,
    shown,
    unusable,
)
from scaling.table.column_names import unit_of, with_our_names
from scaling.table.formats import PACKED, read_table
from scaling.table.number_text import UNCLEAR
from scaling.table.table_checks import mixed_run, remarks, rows_and_runs
from scaling.table.unfit_rows import judge, tuned_elsewhere

NEEDED = ("n_params", "n_tokens", "loss")  # what most laws read and predict
NUMBERS = ("n_params", "n_active", "n_tokens", "flops", "loss", "lr")
GRID_STAGES = ("grid", "extend")  # the stages of a study whose runs had their hyperparameters tuned
TUNING = ("tune", "refine")  # those whose rates were varied to find the best
NOT_FINISHED = ("diverged", "failed", "running", "crashed", "killed", "preempted")
AGAIN = "in a row that repeats an earlier one in every column, row dropped"


@dataclass(frozen=True, eq=False)
class Runs:
    """A table of runs with what its numbers mean.

    Attributes:
      table: one row a run; n_params, n_tokens, flops and loss (nats per token) are float.
      conventions: what N counts, how FLOPs were counted, the loss's unit, …
      notes: what was left out, filled in or is odd, one line each; dropped: how many rows were left out.
      keep_all: fit unfit runs (scaling/table/unfit_rows.py), too; unfit: those that were left out, and why.
    """

    table: pd.DataFrame
    conventions: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    dropped: int = 0
    keep_all: bool = False
    unfit: tuple[dict[str, Any], ...] = ()

    def usable(
        self, target: str = "loss", columns: Sequence[str] = (), positive: Sequence[str] = ()
    ) -> "UsableRuns":
        """The runs a law is fitted to: finished ones and, of a study, those of its grid; the rest is noted.

        The rates of a study's tune runs are varied on purpose, and its verify run is what is to be predicted.
        Runs with an `objective`, where others have none, were post-trained: their loss is of another kind.
        Rows need a finite number in `target` and in all of `columns`, and one above 0 where it is a loss or
        one of those that are `positive` (of which the logarithm is taken). Of a law of the loss by tokens,
        runs that are unfit are left out, unless all are to be kept.

        Raises:
          ValueError: the table has no such column.
        """
        runs = self
        in_grid = np.isin(self.table["stage"], GRID_STAGES) if "stage" in self.table else np.zeros(1, bool)
        if in_grid.any():
            further = tuned_elsewhere(self.table, self.table["stage"].isin(TUNING).to_numpy(), in_grid)
            runs = runs.without(~in_grid, "other stages than the grid")
            runs = replace(runs, notes=(*runs.notes, *further))
        runs = runs.without(post_trained(runs.table), "post-trained, with a loss of its own")
        runs = runs.without(~finished(runs.table, (target, *columns)), "diverged or not finished")
        runs = UsableRuns(**vars(runs)).usable(target, columns, (*positive, "loss"))
        return runs.without_unfit(columns) if target == "loss" and "n_tokens" in (columns or NEEDED) else runs

    def plot(self) -> Any:
        """A small chart of altair's: loss against compute, coloured by size.

        Raises:
          ValueError: the table has no loss or no flops.
        """
        from scaling import notebook

        if not {"flops", "loss"} <= set(self.table):
            raise ValueError(f"no flops and loss to plot; the table has {', '.join(map(str, self.table))}")
        shown = [name for name in ("run_id", "n_params", "n_tokens", "flops", "loss") if name in self.table]
        return notebook.points_and_line(self.table.loc[finished(self.table), shown])

    def _repr_html_(self) -> str:
        from scaling import notebook

        columns = {name: numbers(self.table[name]) for name in NUMBERS if name in self.table}
        known = {name: values[np.isfinite(values)] for name, values in columns.items()}
        ends = (("smallest", np.min), ("median", np.median), ("largest", np.max))
        rows = [
            {"": name, "rows": len(values), **{end: f"{of(values):.4g}" for end, of in ends}}
            for name, values in known.items()
            if len(values)
        ]
        return notebook.html(f"{len(self.table)} rows, {self.dropped} dropped", rows, self.notes)

    def with_verification(self) -> Self:
        """A study's runs with its verification run among those that a law is fitted to.

        Raises:
          ValueError: there is no finished run of the stage "verify".
        """
        table = self.table
        verifying = (
            (table["stage"] == "verify").to_numpy() if "stage" in table else np.zeros(len(table), bool)
        )
        if not (verifying & finished(table)).any():
            raise ValueError("there is no finished verification run (stage verify) to fit the law to as well")
        stage = table["stage"].mask(verifying, GRID_STAGES[-1])
        note = "the verification run is among the runs fitted"
        return replace(self, table=table.assign(stage=stage), notes=(*self.notes, note))

    @property
    def run_numbers(self) -> np.ndarray:
        """The run of each row [rows], numbered from 0: points of one curve share a run_id."""
        if "run_id" not in self.table:
            return np.arange(len(self.table))
        return np.unique(self.table["run_id"].astype(str).to_numpy(str), return_inverse=True)[1]

    def without(self, rows: np.ndarray, why: str) -> Self:
        """The other rows, and a note of what was left out."""
        if not rows.any():
            return self
        n, kept = int(rows.sum()), self.table.loc[~rows].reset_index(drop=True)
        note = f"left out {n} of {len(rows)} rows: {why}"
        return replace(self, table=kept, notes=(*self.notes, note), dropped=self.dropped + n)


@dataclass(frozen=True, eq=False)
class UsableRuns(Runs):
    """Runs of which `Runs.usable` has left out, and noted, those that no law is fitted to.

    They are passed on as they are, from a fit to profiles, envelopes and comparisons.
    """

    def usable(
        self, target: str = "loss", columns: Sequence[str] = (), positive: Sequence[str] = ()
    ) -> "UsableRuns":
        """Those with a usable number in these columns too; see `Runs.usable`."""
        runs = self
        for name in (target, *columns):
            if name not in runs.table:
                raise ValueError(
                    f"the law reads {name}, which the table has not; name its column with --columns {name}=…"
                )
            runs = runs.without(~np.isfinite(numbers(runs.table[name])), f"{name} is no finite number")
            if name in positive:
                runs = runs.without(numbers(runs.table[name]) <= 0, f"{name} is not positive")
        return runs

    def without_unfit(self, columns: Sequence[str]) -> "UsableRuns":
        """Without runs that say little of well-made ones, each noted; see scaling/table/unfit_rows.py."""
        unfit, notes, left_out = judge(self.table, columns, self.keep_all)
        kept = self.table.loc[~unfit].reset_index(drop=True)
        counted = {"dropped": self.dropped + int(unfit.sum()), "unfit": (*self.unfit, *left_out)}
        return replace(self, table=kept, notes=(*self.notes, *notes), **counted)


def read_runs(
    path: Path | str | pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    needed: Sequence[str] = NEEDED,
) -> Runs:
    """Reads and checks a table (see `read_table`), the runs.csv of a study directory, or a data frame.

    A JSON file beside it, of the same name, may state its conventions, as runs.json does in a study:
    {"conventions": {"n_params": "without embeddings", …}}.

    Args:
      columns: our names -> the table's names, for example {"n_params": "N"}. Well-known names (N, tokens,
        val_loss, …) need no saying where only one column can be meant.
      needed: the columns that will be used: those that a law reads, and its target.

    Raises:
      ValueError: the file cannot be read, a column is missing or unclear, or no row is usable.
    """
    if isinstance(path, pd.DataFrame):
        named = any(name is not None for name in path.index.names)
        return check(path.reset_index() if named else path, {}, "the data frame", needed, columns)
    path = Path(path)
    source = path / "runs.csv" if path.is_dir() else path
    sidecar = (source.with_suffix("") if source.suffix in PACKED else source).with_suffix(".json")
    conventions = _conventions(sidecar, of_study=path.is_dir()) if sidecar != source else {}
    return check(read_table(source), conventions, source.name, needed, columns)


def check(
    table: pd.DataFrame,
    conventions: Mapping[str, Any],
    name: str = "the table",
    needed: Sequence[str] = NEEDED,
    columns: Mapping[str, str] | None = None,
) -> Runs:
    """Checks every row; see `read_runs`. Rows are named by their number in the table, the first being 1.

    Text is read as the number it is, and said (scaling/table/number_text.py). Losses are positive; those of
    runs with an `objective`, which may be minus a reward, need not be. Where n_tokens is needed and missing,
    flops / (6·N) stands in; where flops are missing, 6·N·D. Both are written into the conventions. A loss
    that is missing or infinite is a run that diverged: it stays in the table and out of every fit.

    Args:
      table: one row a run; conventions: what is stated of its numbers; name: of the table, for messages.
      needed: columns that will be used; columns: our names -> the table's names.

    Raises:
      ValueError: a column is missing or unclear, or no row is usable.
    """
    table, taken = with_our_names(table.reset_index(drop=True), columns or {}, needed, name)
    notes = [f"read {', '.join(f'{theirs} as {ours}' for ours, theirs in taken.items())}"] if taken else []
    twice, theirs, given = _repeated(table), {**taken, **(columns or {})}, table.copy(deep=False)
    drop = np.zeros(len(table), bool)
    for column in dict.fromkeys(c for c in (*NUMBERS, *needed) if c in table):
        values, unclear = numbers_and_doubts(table[column], unit_of(column, theirs.get(column, "")))
        notes += name_rows(table, unclear, column, f"{UNCLEAR}, row dropped")
        drop |= unclear
        wrong = np.isnan(values) & is_given(table[column]) & ~unclear
        notes += name_rows(table, wrong, column, "is not a number, read as missing")
        notes += reading(table[column], column, values)
        table[column] = values
    stated, filled = _fill_in(table, needed)
    notes += filled
    with_flops = ("flops",) if "n_tokens" in needed and {"n_params", "n_active"} & set(needed) else ()
    for column in dict.fromkeys((*needed, *with_flops)):
        values = table[column].to_numpy()
        if column == "loss":
            values = np.where(_has_objective(table), np.nan, values)
        for wrong, what in unusable(column, values):
            notes += name_rows(_as_said(table, given, column), wrong & ~drop, column, f"{what}, row dropped")
            drop |= wrong
    notes += name_rows(table, twice & ~drop, needed[-1], AGAIN)
    drop |= twice
    kept = table.loc[~drop].reset_index(drop=True)
    if kept.empty:
        first = next((note for note in notes if note.startswith("row ")), "it is empty")
        raise ValueError(f"{name}: none of {len(drop)} rows is usable; {first}")
    if "status" not in kept and "loss" in needed:
        kept["status"] = np.where(np.isfinite(kept["loss"]), "done", "diverged")
    if mixed := mixed_run(kept):
        kept = kept.drop(columns="run_id")
        notes.append(f"run_id {mixed} has several n_params: it names no runs, so each row is taken as one")
    of_text = ~post_trained(kept)
    if "loss" in needed:
        of_text &= ~(kept["loss"] <= 0).to_numpy()
    notes += [*remarks(kept.loc[of_text], needed), *rows_and_runs(kept)]
    return Runs(kept, _unstated(needed, taken) | stated | dict(conventions), tuple(notes), int(drop.sum()))


def read_points(
    path: Path | str,
    columns: Mapping[str, str] | None = None,
    needed: Sequence[str] = ("n_params", "n_tokens"),
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Reads a table of runs to come: (the table as it is, its `needed` columns by name).

    Every value must be good; without n_tokens, flops / (6·N) stands in.

    Raises:
      ValueError: the file cannot be read, a column is missing, or a value cannot be used.
    """
    path = Path(path)
    given = read_table(path)
    table, taken = with_our_names(given, columns or {}, needed, path.name)
    theirs = {**taken, **(columns or {})}
    used = [c for c in needed if c in table]
    if len(used) < len(needed):  # the rest is derived
        used += [c for c in ("n_params", "n_tokens", "flops") if c in table and c not in used]
    for column in used:
        said = table[column]
        table[column], unclear = numbers_and_doubts(said, unit_of(column, theirs.get(column, "")))
        if unclear.any():
            row = int(unclear.argmax())
            raise ValueError(f"{path.name}: row {row + 1}: {column}={shown(said.iloc[row])} {UNCLEAR}")
        for wrong, what in unusable(column, table[column].to_numpy())[:1]:
            if wrong.any():
                row = int(wrong.argmax())
                raise ValueError(f"{path.name}: row {row + 1}: {column}={shown(said.iloc[row])} {what}")
    _fill_in(table, needed)
    return given, {column: table[column].to_numpy(float) for column in needed}


def _as_said(table: pd.DataFrame, given: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table with what a column's cells say where they could not be read as numbers."""
    if column not in given:
        return table
    cells = table[column].astype(object)
    return table.assign(**{column: cells.where(table[column].notna(), given[column])})


def _repeated(table: pd.DataFrame) -> np.ndarray:
    """Rows that repeat an earlier one in every column."""
    try:
        return table.duplicated().to_numpy()
    except TypeError:  # lists or dicts in cells
        return table.astype(str).duplicated().to_numpy()


def finished(table: pd.DataFrame, needed: Sequence[str] = ("loss",)) -> np.ndarray:
    """Which rows [rows] are of runs that ended as planned: no other status, and a finite loss if needed."""
    done = np.ones(len(table), bool)
    if "loss" in needed and "loss" in table:
        done &= np.isfinite(numbers(table["loss"]))
    if "status" in table:
        done &= ~table["status"].astype(str).str.lower().isin(NOT_FINISHED).to_numpy()
    return done


def post_trained(table: pd.DataFrame) -> np.ndarray:
    """Which rows [rows] are of runs with an `objective`, where others have none: their loss is no text's."""
    with_objective = _has_objective(table)
    return with_objective & ~with_objective.all()


def _has_objective(table: pd.DataFrame) -> np.ndarray:
    return is_given(table["objective"]) if "objective" in table else np.zeros(len(table), bool)


def _fill_in(table: pd.DataFrame, needed: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Adds n_tokens and flops to the table where they follow from C = 6·N·D, and batch_tokens from n_steps:
    (conventions, notes).

    N are the active parameters, where the table tells them apart.
    """
    conventions, notes = {}, []
    if "batch_tokens" in needed and "batch_tokens" not in table and {"n_tokens", "n_steps"} <= set(table):
        table["batch_tokens"] = numbers(table["n_tokens"]) / numbers(table["n_steps"])
        conventions["batch_tokens"] = "n_tokens / n_steps: the table has no batch_tokens"
    size = "n_active" if "n_active" in table else "n_params"
    if size not in table:
        return conventions, notes
    six_n = 6.0 * table[size]
    if "n_params" in table:
        six_n = six_n.fillna(6.0 * table["n_params"])
    if "n_tokens" in needed and "n_tokens" not in table:
        table["n_tokens"] = table["flops"] / six_n
        conventions["n_tokens"] = f"flops / (6 * {size}): the table has no n_tokens"
    if "n_tokens" in table:
        if "flops" not in table:
            table["flops"] = six_n * table["n_tokens"]
            conventions["flops"] = f"6 * {size} * n_tokens: the table has no flops"
        elif missing := int(table["flops"].isna().to_numpy().sum()):
            table["flops"] = table["flops"].fillna(six_n * table["n_tokens"])
            notes.append(f"{missing} rows have no flops: 6 * {size} * n_tokens stands in")
    return conventions, notes


def _unstated(needed: Sequence[str], taken: Mapping[str, str]) -> dict[str, str]:
    """What is to be said of numbers that nothing is stated of."""
    unknown = {
        "n_params": "what is counted is not stated",
        "loss": "unit not stated, taken as nats per token",
    }
    return {
        name: f"column {taken[name]} of the table; {what}" if name in taken else what
        for name, what in unknown.items()
        if name in needed
    }


def _conventions(sidecar: Path, of_study: bool) -> dict[str, Any]:
    """What is stated beside a table. Another file of that name may hold anything; a study's may not."""
    if not sidecar.is_file():
        return {}
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except ValueError as error:
        if of_study:
            raise ValueError(f"{sidecar} is not JSON ({error}); delete it or make it whole") from error
        return {}
    stated = content.get("conventions") if isinstance(content, dict) else None
    return stated if isinstance(stated, dict) else {}
