"""The table of runs: read, check, say what its numbers mean.

One row is one training run (or one point on its curve). Rows that cannot be used are named and left
out, never repaired in silence; tables that cannot be used are refused with one line.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# Names seen in public tables, for suggestions only: a wrong guess at a convention is worse than a question.
USUAL_NAMES = {
    "n_params": ("n", "params", "parameters", "model size", "num_params", "params_active_precise"),
    "n_tokens": ("d", "t", "tokens", "num_tokens", "training tokens"),
    "flops": ("c", "compute", "training flop", "training flops", "flop"),
    "loss": ("l", "final_loss", "val_loss", "smooth loss", "eval_loss"),
}
NEEDED = ("n_params", "n_tokens", "loss")  # what most laws read and foretell
GRID_STAGES = ("grid", "extend")  # the stages of a study whose runs had their hyperparameters tuned
NAMED_ROWS = 5  # bad rows named one by one; the rest is counted


@dataclass(frozen=True, eq=False)
class Runs:
    """A table of runs with what its numbers mean.

    Attributes:
      table: one row a run; n_params, n_tokens, flops and loss (nats per token) are float.
      conventions: what N counts, how FLOPs were counted, the loss's unit, …
      notes: what was left out or filled in, one line each; dropped: how many rows were left out.
    """

    table: pd.DataFrame
    conventions: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    dropped: int = 0

    def for_fit(self, target: str = "loss", columns: Sequence[str] = ()) -> "Runs":
        """The runs a law is fitted to: finished ones and, of a study, those of its grid; the rest is noted.

        The rates of a study's tune runs are varied on purpose, and its verify run is what is to be predicted.
        Rows need a finite number in `target` and in all of `columns`.

        Raises:
          ValueError: the table has no such column.
        """
        runs = self
        in_grid = np.isin(self.table["stage"], GRID_STAGES) if "stage" in self.table else np.zeros(1, bool)
        if in_grid.any():
            runs = runs.without(~in_grid, "other stages than the grid")
        runs = runs.without(~_finished(runs.table), "diverged or not finished")
        for name in (target, *columns):
            if name not in runs.table:
                raise ValueError(
                    f"the law reads {name}, which the table has not; name its column with --columns {name}=…"
                )
            runs = runs.without(~np.isfinite(_numbers(runs.table[name])), f"{name} is no finite number")
        return runs

    def without(self, rows: np.ndarray, why: str) -> "Runs":
        """The other rows, and a note of what was left out."""
        if not rows.any():
            return self
        n, kept = int(rows.sum()), self.table.loc[~rows].reset_index(drop=True)
        note = f"left out {n} of {len(rows)} rows: {why}"
        return replace(self, table=kept, notes=(*self.notes, note), dropped=self.dropped + n)


def read_runs(
    path: Path | str, columns: Mapping[str, str] | None = None, needed: Sequence[str] = NEEDED
) -> Runs:
    """Reads and checks a table: .csv, .jsonl or .parquet (compressed or not), or a study directory.

    Without flops, 6·N·D stands in; without n_tokens, flops / (6·N). Both are written into the conventions.

    Args:
      columns: our names -> the table's names, for example {"n_params": "N"}.
      needed: the columns that will be used: those that a law reads, and its target.

    Raises:
      ValueError: the file cannot be read, a column is missing, or no row is usable.
    """
    path = Path(path)
    source = path / "runs.csv" if path.is_dir() else path
    conventions = _conventions(path / "runs.json") if path.is_dir() else {}
    return check(_rename(_read(source), columns or {}, source.name), conventions, source.name, needed)


def check(
    table: pd.DataFrame,
    conventions: Mapping[str, Any],
    name: str = "the table",
    needed: Sequence[str] = NEEDED,
) -> Runs:
    """Checks every row; see `read_runs`. Rows are named by their number in the table, the first being 1.

    A loss that is missing or infinite is a run that diverged: it stays in the table and out of every fit.
    """
    _require_columns(table, name, needed)
    table, conventions, notes = table.reset_index(drop=True), dict(conventions), []
    twice = table.duplicated().to_numpy()
    for column in dict.fromkeys(c for c in (*USUAL_NAMES, *needed) if c in table):
        numbers = _numbers(table[column])
        notes += _name_rows(
            table, _is_text(table[column], numbers), column, "is not a number, read as missing"
        )
        table[column] = numbers
    if "n_tokens" in needed and "n_tokens" not in table:
        table["n_tokens"] = table["flops"] / (6.0 * table["n_params"])
        conventions["n_tokens"] = "flops / (6 * n_params): the table has no n_tokens"
    checked = list(dict.fromkeys(needed))
    if {"n_params", "n_tokens"} <= set(table.columns):
        checked.append("flops")
        if "flops" not in table:
            table["flops"] = np.nan
            conventions["flops"] = "6 * n_params * n_tokens: the table has no flops"
        elif (missing := np.isnan(table["flops"].to_numpy())).any():
            notes.append(f"{missing.sum()} rows have no flops: 6 * n_params * n_tokens stands in")
        table["flops"] = table["flops"].fillna(6.0 * table["n_params"] * table["n_tokens"])
    drop = np.zeros(len(table), bool)
    for column in checked:
        wrong, must = _unusable(column, table[column].to_numpy())
        notes += _name_rows(table, wrong & ~drop, column, f"{must}, row dropped")
        drop |= wrong
    again = "in a row that repeats an earlier one in every column, row dropped"
    notes += _name_rows(table, twice & ~drop, needed[-1], again)
    drop |= twice
    kept = table.loc[~drop].reset_index(drop=True)
    if kept.empty:
        raise ValueError(
            f"{name}: none of {len(drop)} rows is usable; {notes[0] if notes else 'it is empty'}"
        )
    if "status" not in kept and "loss" in kept:
        kept["status"] = np.where(np.isfinite(kept["loss"]), "done", "diverged")
    return Runs(kept, conventions, tuple(notes), int(drop.sum()))


def read_points(
    path: Path | str, columns: Mapping[str, str] | None = None
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Reads a table of runs to come: (the table as it is, its n_params and n_tokens by name).

    n_params, and n_tokens or flops, must be good in every row; without n_tokens, flops / (6·N) stands in.

    Raises:
      ValueError: the file cannot be read, a column is missing, or a value is not positive and finite.
    """
    path = Path(path)
    given = _read(path)
    table = _rename(given, columns or {}, path.name)
    _require_columns(table, path.name, ("n_params", "n_tokens"))
    points = {}
    for column in ("n_params", "n_tokens" if "n_tokens" in table else "flops"):
        points[column] = _numbers(table[column])
        wrong = np.flatnonzero(~(np.isfinite(points[column]) & (points[column] > 0)))
        if len(wrong):
            value = table[column].iloc[wrong[0]]
            raise ValueError(
                f"{path.name}: row {wrong[0] + 1}: {column}={value}; it must be positive and finite"
            )
    if "flops" in points:
        points["n_tokens"] = points.pop("flops") / (6.0 * points["n_params"])
    return given, points


def _numbers(column: Any) -> np.ndarray:
    """As float64; NaN for what is no number."""
    return np.asarray(pd.to_numeric(column, errors="coerce"), float)


def _is_text(column: Any, numbers: np.ndarray) -> np.ndarray:
    """Where something that is no number was given."""
    said_nan = column.astype(str).str.strip().str.lower().isin(["nan", "none", "null", ""])
    return np.isnan(numbers) & column.notna().to_numpy() & ~said_nan.to_numpy()


def _finished(table: pd.DataFrame) -> np.ndarray:
    done = np.isfinite(table["loss"].to_numpy())
    return (
        done & ~table["status"].isin(["diverged", "failed", "running"]).to_numpy()
        if "status" in table
        else done
    )


def _unusable(column: str, values: np.ndarray) -> tuple[np.ndarray, str]:
    """Which values cannot be used, and what they must be. A loss that is not finite is a diverged run."""
    if column == "loss":
        return values <= 0, "must be positive"
    counted = column in ("flops", "lr", "k") or column.startswith("n_") or column.endswith("_tokens")
    if counted:
        return ~(np.isfinite(values) & (values > 0)), "must be positive and finite"
    return ~np.isfinite(values), "must be finite"


def _name_rows(table: pd.DataFrame, rows: np.ndarray, column: str, what: str) -> list[str]:
    """One note a bad row, and a count of those beyond the first few."""
    found = np.flatnonzero(rows)
    runs = [f" (run_id {table['run_id'].iloc[i]})" if "run_id" in table else "" for i in found[:NAMED_ROWS]]
    notes = [f"row {i + 1}{run}: {column}={table[column].iloc[i]} {what}" for i, run in zip(found, runs)]
    more = len(found) - NAMED_ROWS
    return [*notes, f"and {more} more rows whose {column} {what}"] if more > 0 else notes


def _require_columns(table: pd.DataFrame, name: str, needed: Sequence[str]) -> None:
    """n_tokens may come from flops, and flops from n_tokens."""
    missing = [c for c in needed if c not in table and not _derived(c, table, needed)]
    if missing:
        wanted = [*missing, "flops"] if "n_tokens" in missing else missing
        guess = [f"{ours}={theirs}" for ours in wanted if (theirs := _nearest(ours, table.columns))]
        hint = f"try --columns {','.join(guess)}" if guess else f"it has {', '.join(map(str, table.columns))}"
        raise ValueError(f"{name}: no column {', '.join(missing)}; {hint}")


def _derived(column: str, table: pd.DataFrame, needed: Sequence[str]) -> bool:
    """Whether the column follows from C = 6·N·D (a missing n_params is reported by itself)."""
    other = {"n_tokens": "flops", "flops": "n_tokens"}.get(column)
    return other in table and ("n_params" in table or "n_params" in needed)


def _nearest(ours: str, theirs) -> str | None:
    """The column that most probably is meant."""
    by_name = {str(name).strip().lower(): str(name) for name in theirs}
    usual = [by_name[name] for name in USUAL_NAMES.get(ours, ()) if name in by_name]
    close = difflib.get_close_matches(ours.lower(), by_name, n=1)
    return usual[0] if usual else by_name[close[0]] if close else None


def _rename(table: pd.DataFrame, columns: Mapping[str, str], name: str) -> pd.DataFrame:
    for ours, theirs in columns.items():
        if theirs not in table:
            near = difflib.get_close_matches(theirs, map(str, table.columns), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(str, table.columns))}"
            raise ValueError(f"{name}: no column {theirs!r} to use as {ours}; {hint}")
    taken = [ours for ours in columns if ours in table and columns[ours] != ours]
    return table.drop(columns=taken).rename(columns={theirs: ours for ours, theirs in columns.items()})


def _read(path: Path) -> pd.DataFrame:
    kinds = {".csv": pd.read_csv, ".jsonl": _read_jsonl, ".parquet": pd.read_parquet}
    if not path.exists():
        raise ValueError(
            f"{path} does not exist; expected a .csv, .jsonl or .parquet file or a study's directory"
        )
    suffix = next((s for s in reversed(path.suffixes) if s not in (".gz", ".xz", ".zst", ".bz2")), "")
    if suffix not in kinds:
        raise ValueError(f"{path}: cannot tell its format from {suffix!r}; expected .csv, .jsonl or .parquet")
    try:
        return kinds[suffix](path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # each format has its own errors; all of them mean the same to the user
        why = str(error).strip().split("\n")[0]
        raise ValueError(f"{path} is not a readable {suffix} table: {why}") from error


def _read_jsonl(path: Path) -> pd.DataFrame:
    return pd.read_json(path, lines=True)


def _conventions(sidecar: Path) -> dict[str, Any]:
    if not sidecar.exists():
        return {}
    try:
        return dict(json.loads(sidecar.read_text()).get("conventions", {}))
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{sidecar} is not a JSON object ({error}); delete it or make it whole") from error
