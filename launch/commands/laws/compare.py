"""Is recipe B better than A, by how much compute? Or, of one table: which law predicts larger runs best?

Recipes (optimizers, data, architectures) are tables of runs or study folders, or the values of a column of
one. The gain is how many times B's compute A needs for B's loss, with its interval, as a function of compute:
by pairs of runs where size and tokens match, else by a law of each. All are measured by the first. A gain
that shrinks with scale is warned of. The last line is for a pull request; --out draws the gain.

Of one table without --by, each law is fitted to the cheaper runs and scored on the larger, and what the runs
cannot tell apart is said. `isoflop fit` and the page keep to their law, Chinchilla's unless --law says
otherwise.

Example: isoflop compare adamw.csv muon.csv --out gain.png,gain.json
Example: isoflop compare out/recipes --by optimizer=adamw,muon
Example: isoflop compare runs.csv --laws chinchilla,kaplan
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from absl import flags

from experiments.files import write_atomic
from launch.arguments.tables_and_fits import check_out, form_of_study, parse_columns
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop compare A B … | STUDY|TABLE --by COLUMN[=A,B,…] | STUDY|TABLE [flags]"
BY = "column whose values are recipes, in this order if they are given, else as they come in the table"
OUT = "where recipes' gain goes, of one or more kinds: .png, .svg, .json"
flags.DEFINE_string("by", None, BY, flag_values=FLAGS)
flags.DEFINE_list("out", [], OUT, flag_values=FLAGS)
flags.DEFINE_list("laws", [], "laws to compare; default: all that the table feeds", flag_values=FLAGS)
flags.DEFINE_list(
    "columns", [], "names in the table, for example n_params=N,n_tokens=D,loss=L", flag_values=FLAGS
)
flags.DEFINE_integer(
    "cuts", 4, "budgets at which the table is cut for laws", lower_bound=1, upper_bound=100, flag_values=FLAGS
)
flags.DEFINE_float("level", 0.9, "level of the intervals", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
KINDS = (".png", ".svg", ".json")
MOST_ROWS = 24  # of pairs that are printed


def run(args: list[str], flags) -> int:
    """Prints the gain of each recipe and a sentence; or a line a law, best first, and the verdict."""
    if not args or (flags.by and len(args) > 1):
        raise ValueError(
            f"expected two tables of runs or study directories, or one, got {args}; usage: {USAGE}"
        )
    for out in flags.out:
        check_out(out)
        if Path(out).suffix not in KINDS:
            raise ValueError(f"--out {out}: no such kind; allowed are {', '.join(KINDS)}")
    recipes = len(args) > 1 or flags.by
    if recipes and flags.laws:
        raise ValueError("--laws compares laws, of one table without --by; leave it out to compare recipes")
    if flags.out and not recipes:
        raise ValueError("--out is for recipes: give two tables, or --by")
    columns = parse_columns(flags.columns)
    prepare_process()  # before anything imports jax
    return _recipes(args, flags, columns) if recipes else _laws(args[0], flags, columns)


def _recipes(args: list[str], flags, columns: dict[str, str]) -> int:
    from scaling.prediction.recipe_comparison import compare_recipes

    (a, first), *others = _split(args[0], flags.by, columns) if flags.by else _read(args, columns)
    found = [compare_recipes(first, runs, (a, name), flags.level) for name, runs in others]
    content = {"recipes": [each.to_json() for each in found]}
    for out in map(Path, flags.out):
        write_atomic(
            out, json.dumps(content, indent=1) + "\n" if out.suffix == ".json" else _drawn(found, out.suffix)
        )
    print(json.dumps(content) if flags.json else "\n\n".join(map(_said, found)))
    return 0


def _read(paths: list[str], columns: dict[str, str]) -> list[tuple[str, Any]]:
    """(name, runs) of each table: the shortest end of its path that the others have not."""
    import scaling

    parts = [Path(path).resolve().with_suffix("").parts for path in paths]
    names = paths
    for length in range(1, max(map(len, parts))):
        if len({each[-length:] for each in parts}) == len(parts):
            names = ["/".join(each[-length:]) for each in parts]
            break
    else:
        raise ValueError(f"expected different tables, got {paths}")
    return [(name, scaling.read_runs(path, columns)) for name, path in zip(names, paths)]


def _split(path: str, by: str, columns: dict[str, str]) -> list[tuple[str, Any]]:
    """(value, runs) of each value of a column; runs that have none are of no recipe."""
    import scaling
    from launch.driver.rows import Rows, column
    from scaling.table.cell_values import is_given

    name, _, asked = by.partition("=")
    runs = scaling.read_runs(path, columns)
    name, cells = column(Rows(runs.table), name.strip())
    cells = cells.loc[is_given(cells)].astype(str)
    there = list(dict.fromkeys(cells))
    values = [value.strip() for value in asked.split(",")] if asked else there
    if missing := [value for value in values if value not in there]:
        raise ValueError(f"--by {by}: no run has {name} {missing[0]}; there are {', '.join(there)}")
    if len(set(values)) < 2 or len(set(values)) < len(values):
        found = ", ".join(values) or "none"
        raise ValueError(f"--by {by}: comparing takes two different values or more, not {found}")
    tables = [runs.table.loc[cells.index[cells == value]].reset_index(drop=True) for value in values]
    return [(value, dataclasses.replace(runs, table=table)) for value, table in zip(values, tables)]


def _drawn(found: list[Any], kind: str) -> bytes | str:
    import pandas as pd

    from scaling.report import charts, theme

    curves, pairs = (
        pd.concat([getattr(each, name).assign(recipe=each.b) for each in found], ignore_index=True)
        for name in ("curve", "pairs")
    )
    spec = charts.recipe_gain(curves, pairs, found[0].a)
    return theme.png(spec) if kind == ".png" else theme.svg(spec)


def _said(found) -> str:
    """The comparison as text, its sentence last."""
    from scaling.report.theme import si

    lines = [
        f"compute that {found.a} needs for {found.b}'s loss, × ({found.method}, {found.level:.0%} intervals)"
    ]
    if 0 < len(found.pairs) <= MOST_ROWS:
        lines.append(f"{'N':>9}{'D':>9}{'FLOPs':>10}{found.a[-12:]:>13}{found.b[-12:]:>13}  gain")
        lines += [
            f"{si(row.n_params):>9}{si(row.n_tokens):>9}{row.flops:>10.2g}{row.loss_a:>13.4f}{row.loss_b:>13.4f}"
            f"  {_gain(row)}"
            for row in found.pairs.itertuples()
        ]
    gains = {
        "over all compute": found.overall,
        f"at {found.largest.flops:.2g} FLOPs, the largest": found.largest,
        f"at {found.ahead.flops:.2g} FLOPs, beyond the runs": found.ahead,
    }
    lines += [f"{where:<38}  {_gain(gain)}" for where, gain in gains.items()]
    if trend := found.trend:
        changes = f"{trend.factor:.3g} ({trend.lo:.3g} to {trend.hi:.3g})"
        lines.append(f"{'factor with every decade of compute':<38}  {changes}")
    lines += [f"note: {note}" for note in found.notes]
    lines += [f"warning: {warning}" for warning in found.warnings]
    return "\n".join([*lines, found.verdict])


def _gain(of) -> str:
    return f"{of.gain:.3g} ({of.lo:.3g} to {of.hi:.3g})"


def _laws(path: str, flags, columns: dict[str, str]) -> int:
    import scaling
    from scaling import laws
    from scaling.prediction.law_comparison import compare_laws

    runs = scaling.read_runs(path, columns)
    relax = form_of_study(path).get("relax", True)
    found = compare_laws(runs, flags.laws or None, flags.cuts, flags.level, relax=relax)
    if flags.json:
        content = {"verdict": found.verdict, "told_apart": found.decided, "next_run": found.next_run}
        candidates = [dataclasses.asdict(candidate) for candidate in found.candidates]
        print(json.dumps({**content, "candidates": candidates}, allow_nan=False))
        return 0
    width = max(len(candidate.law) for candidate in found.candidates)
    print(f"{'law':<{width}}  weight  median error   bias  inside  half-width  (held-out larger runs)")
    for c in found.candidates:
        print(
            f"{c.law:<{width}}  {c.weight:6.0%}  {c.median_abs_error:12.2%}  {c.bias:+5.1%}  "
            f"{c.coverage:6.0%}  {c.half_width:10.2%}"
        )
    print(found.verdict)
    for note in runs.usable().notes:
        if note.startswith(("left out", "kept")):
            print(f"note: {note}")
    for candidate in found.candidates[:2]:
        if use := laws.find(candidate.law).use:
            print(f"{candidate.law} is for: {use}")
    return 0
