"""Runs as rows to look at: all of a study, finished or not, with every setting; or the rows of any table."""

import difflib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from launch.driver.runs_table import setting, table_of
from launch.store import PlannedRun, Store, settings
from scaling.table.cell_values import is_given
from scaling.table.column_names import with_our_names
from scaling.table.expression import parse
from scaling.table.formats import read_table

SAID_FIRST = ("run_id", "stage", "status", "n_params", "n_tokens", "flops", "lr", "loss")


@dataclass(frozen=True)
class Rows:
    """Rows of runs.

    table: one row a run. configs: of each row of a study; [] of another table. theirs: names in another
    table that were taken for ours -> ours. shown: columns that say something, in order.
    """

    table: pd.DataFrame
    configs: list[dict[str, Any]] = field(default_factory=list)
    theirs: dict[str, str] = field(default_factory=dict)
    shown: tuple[str, ...] = ()


def read_rows(source: Path) -> Rows:
    """All runs of the study in a folder that still belong to it, or the rows of a file.

    Raises:
      ValueError: there is no study and no readable table.
    """
    if (store := Store(source)).root.is_dir():
        return _of_study(store)
    path = source / "runs.csv" if source.is_dir() else source
    table, taken = with_our_names(read_table(path), {}, (), path.name)
    return Rows(table, theirs={theirs: ours for ours, theirs in taken.items()}, shown=tuple(table))


def _of_study(store: Store) -> Rows:
    states, results, dropped = store.states(), store.results(), store.plan.dropped()
    planned = {run_id: run for run_id, run in store.plan.runs().items() if run_id not in dropped}
    ended = {
        run_id: results.get(run_id) or _as_planned(run, states[run_id]) for run_id, run in planned.items()
    }
    table = table_of(ended, {run_id: run.stage for run_id, run in planned.items()}, planned)
    configs = [run.config for run in planned.values()]
    telling = [settings.column(name) for name in settings.telling(configs)]
    shown = [name for name in dict.fromkeys((*SAID_FIRST, *telling)) if name in table]
    alike = {name for name in ("stage", "status") if len(set(table[name])) == 1}
    return Rows(table, configs, shown=tuple(name for name in shown if name not in alike))


def _as_planned(run: PlannedRun, state: str) -> dict[str, Any]:
    """What is known of a run without a result."""
    about = {settings.column(name): value for name, value in settings.flat(run.config).items()}
    sizes = {"n_params": run.n_params, "n_tokens": run.n_tokens, "flops": run.flops, "n_steps": run.n_steps}
    return about | sizes | {"status": state}


def column(rows: Rows, name: str) -> tuple[str, Any]:
    """The column of this name, or of a setting of the study's runs: (its full name, its cells).

    A setting may be given in full or by its last part, optimizer.weight_decay or weight_decay, and a part
    that has a name by itself: optimizer.

    Raises:
      ValueError: there is none, or several could be meant.
    """
    for known in (name, settings.column(name), rows.theirs.get(name)):
        if known in rows.table:
            return str(known), rows.table[known]
    there = dict.fromkeys([*rows.table, *(each for config in rows.configs for each in settings.flat(config))])
    found = [each for each in (name, f"{name}.name") if each in there] or [
        each for each in there if str(each).rpartition(".")[2] == name
    ]
    if len(found) == 1 and found[0] in rows.table:
        return found[0], rows.table[found[0]]
    if found and len(found) == 1:
        return found[0], pd.Series([setting(config, found[0]) for config in rows.configs], rows.table.index)
    near = found or difflib.get_close_matches(name, map(str, there), n=1)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(map(str, there))}"
    raise ValueError(f"no column {name!r}; {hint}")


def where(rows: Rows, condition: str | None) -> Rows:
    """The rows of which the condition holds (`scaling.table.expression`); all of them for None.

    Raises:
      ValueError: it is no condition, or reads a column that is not there.
    """
    if condition is None:
        return rows
    expression = parse(condition)
    cells = {name: column(rows, name)[1].astype(object) for name in expression.names}
    values = {name: [*cell.where(is_given(cell), None)] for name, cell in cells.items()}
    holds = [
        expression.holds({name: each[k] for name, each in values.items()}) for k in range(len(rows.table))
    ]
    return replace(
        rows,
        table=rows.table.loc[holds],
        configs=[config for config, kept in zip(rows.configs, holds) if kept],
    )
