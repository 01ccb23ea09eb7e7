"""Print the runs of a study, finished or not, or the rows of any table: those of which a condition holds.

Columns are those of runs.csv and every setting of a run, which may be named by its last part: weight_decay is
optimizer.weight_decay. Without --columns there are those that differ, as many as a terminal has room for;
with --csv and --json all.

A condition has names of columns, numbers, strings and lists, comparisons, in, and, or, not, and arithmetic.

Example: isoflop runs out/quickstart --where "stage == 'grid' and n_tokens / n_params > 20" --sort loss
"""

import json
import shutil
import sys
from pathlib import Path

from absl import flags

from launch.monitor.text import columns, n_runs, strict

FLAGS = flags.FlagValues()
flags.DEFINE_string("where", None, "only rows of which this holds, such as 'lr < 0.01'", flag_values=FLAGS)
flags.DEFINE_string("sort", None, "a column to order by; -loss puts the largest first", flag_values=FLAGS)
flags.DEFINE_list("columns", [], "what to show, such as run_id,weight_decay,loss", flag_values=FLAGS)
flags.DEFINE_bool("csv", False, "print CSV", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
USAGE = "isoflop runs DIR|TABLE [--where EXPR] [--sort COLUMN] [--columns A,B] [--csv | --json]"


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints the rows."""
    if len(args) != 1:
        raise ValueError(f"expected one study folder or table of runs, got {args}; usage: {USAGE}")
    if flags.csv and flags.json:
        raise ValueError("--csv and --json exclude each other; give one")
    import pandas as pd

    from launch.driver.rows import column, read_rows, where
    from scaling.table.formats import as_csv

    known = read_rows(Path(args[0]))
    found = where(known, flags.where)
    names = flags.columns or (list(found.table) if flags.csv or flags.json else list(found.shown))
    table = pd.DataFrame(dict(column(found, name) for name in names), index=found.table.index)
    if flags.sort:
        by = column(found, flags.sort.removeprefix("-"))[1]
        order = by.sort_values(ascending=not flags.sort.startswith("-"), kind="stable").index
        table = table.loc[order]
    if flags.csv:
        print(as_csv(table), end="")
    elif flags.json:
        rows = [{str(name): strict(cell) for name, cell in row.items()} for row in table.to_dict("records")]
        print(json.dumps(rows, indent=1))
    else:
        width = None if flags.columns or not sys.stdout.isatty() else shutil.get_terminal_size().columns
        lines, left_out = columns({str(name): cells for name, cells in table.to_dict("list").items()}, width)
        print("\n".join(lines))
        kept = f"{len(table)} of {n_runs(len(known.table))}" if flags.where else n_runs(len(table))
        more = f"; no room for {', '.join(left_out)}: --columns names some" if left_out else ""
        print(f"{kept}{more}")
    return 0
