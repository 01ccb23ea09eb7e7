"""When human text, power and money run short if training runs grow as they do, by scenario.

Prints what the largest run of a year needs, and when that is more than there is, with 90 % intervals; the
price of a fixed loss by year; what the often quoted 4 to 20 % of the world's electricity would need; and what
one more unique token is worth in compute. With --fit the tokens at the compute optimum are those of a fitted
law, the price of the next per cent of loss is printed too, and a law of repeated data says what tokens are
worth. Every input has a source (--inputs) and can be changed (--set), for all scenarios or for one.

Example: isoflop forecast --out out/forecast
Example: isoflop forecast --set text_stock=1e15 --set slow.compute_growth=2:1.5:3
Example: isoflop forecast --set fixed_run=1e24@2025.5 --set algorithms_growth=2:1.5:3
Example: isoflop forecast --fit fit.json --set largest_run=3e27@2026.5 --json
"""

import json
import os
import shutil
import tempfile
import textwrap
from dataclasses import asdict
from pathlib import Path

from absl import flags

from launch.arguments.tables_and_fits import define_law, read_fit, run_law
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop forecast [--fit FIT.json] [--set [SCENARIO.]NAME=VALUE[:LO:HI][@YEAR] …] [flags]"
flags.DEFINE_string("fit", None, "a fit.json whose frontier gives tokens and loss", flag_values=FLAGS)
flags.DEFINE_multi_string(
    "set",
    [],
    "change an input: NAME=VALUE if certain, or NAME=VALUE:LO:HI, maybe @YEAR; may be repeated",
    flag_values=FLAGS,
)
flags.DEFINE_bool("inputs", False, "print the inputs with their sources, and nothing else", flag_values=FLAGS)
flags.DEFINE_integer("draws", 2000, "futures that are drawn", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "seed of the draws", 0, flag_values=FLAGS)
flags.DEFINE_string(
    "out", None, "write tables (CSV) and figures (PNG, PDF) to this folder", flag_values=FLAGS
)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)

PRINTED = (2026, 2028, 2030)
TABLES = ("forecast", "when", "inputs", "quoted", "data_worth", "next_percent")
FIGURES = (
    *("bottlenecks", "text_stock", "run_power", "electricity", "run_cost", "run_carbon"),
    *("fixed_loss", "next_percent"),
)
define_law(FLAGS)


def run(args: list[str], flags) -> int:
    """Prints, and with --out writes, the forecast."""
    if args:
        raise ValueError(f"expected flags only, got {args}; usage: {USAGE}")
    check_folder(flags.out)
    prepare_process()  # before anything imports jax
    from scaling.outlook.inputs import SCENARIOS, apply_settings
    from scaling.outlook.projection import project

    scenarios = apply_settings(SCENARIOS, flags.set)
    if flags.inputs:
        print(inputs_as_text(scenarios))
        return 0
    run_law(flags.law)
    outlook = project(read_fit(Path(flags.fit)) if flags.fit else None, scenarios, flags.draws, flags.seed)
    if flags.out:
        publish(Path(flags.out), files(outlook))
    print(json.dumps(as_json(outlook), indent=1) if flags.json else as_text(outlook))
    return 0


def check_folder(out: str | None) -> None:
    """Refuses, before any work, a folder that cannot be written, or that holds anything but a forecast.

    Raises:
      ValueError: as said.
    """
    if not out:
        return
    folder = Path(out)
    if not folder.absolute().parent.is_dir() or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"--out {out}: expected a folder, new or of a forecast, in one that exists")
    ours = {f"{name}.csv" for name in TABLES} | {
        f"{name}{end}" for name in FIGURES for end in (".png", ".pdf")
    }
    foreign = (
        sorted(path.name for path in folder.iterdir() if path.name not in ours) if folder.exists() else ()
    )
    if foreign:
        raise ValueError(f"--out {out} holds {foreign[0]} and would be replaced; give another folder")


def files(outlook) -> dict[str, bytes]:
    """Name and content of every table and figure."""
    from scaling.report import theme
    from scaling.report.sections import bottlenecks

    made = {f"{name}.csv": table.to_csv(index=False).encode() for name, table in tables_of(outlook).items()}
    for figure in bottlenecks.figures(outlook):
        spec = bottlenecks.titled(figure)
        made |= {f"{figure.name}.png": theme.png(spec), f"{figure.name}.pdf": theme.pdf(spec)}
    return made


def publish(folder: Path, contents: dict[str, bytes]) -> None:
    """The folder with these files and no others, whole or not at all.

    Raises:
      OSError: it cannot be written; what was there is there still.
    """
    folder = folder.absolute()
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    before = made.with_name(f"{made.name}.before")
    try:
        made.chmod(0o755)
        for name, content in contents.items():
            (made / name).write_bytes(content)
        if folder.exists():
            os.rename(folder, before)
        os.rename(made, folder)
    except BaseException:
        if before.exists() and not folder.exists():
            os.rename(before, folder)
        shutil.rmtree(made, ignore_errors=True)
        raise
    shutil.rmtree(before, ignore_errors=True)


def tables_of(outlook) -> dict:
    """Each of TABLES that there is."""
    inputs = _inputs(outlook.scenarios)
    found = (outlook.table, outlook.when, inputs, outlook.quoted, outlook.data_worth, outlook.returns)
    return {name: table for name, table in zip(TABLES, found, strict=True) if table is not None}


def as_json(outlook) -> dict:
    """Plain values; what is infinite or unknown is null."""
    rows = {
        name: json.loads(str(table.to_json(orient="records", double_precision=15)))
        for name, table in tables_of(outlook).items()
    }
    return {**rows, "notes": list(outlook.notes)}


def as_text(outlook) -> str:
    """For each scenario its quantities over years, and when they become too much."""
    from scaling.outlook.projection import EVENTS, QUANTITIES

    lines = []
    for scenario, table in outlook.table.groupby("scenario", sort=False):
        years = [row for row in table.to_dict("records") if row["year"] in PRINTED]
        lines.append(f"{scenario:<38}" + "".join(f"{row['year']:>25}" for row in years))
        for name, label in QUANTITIES.items():
            if name in table:
                lines.append(f"  {label:<36}" + "".join(f"{_cell(name, row):>25}" for row in years))
        for row in outlook.when.loc[outlook.when["scenario"] == scenario].to_dict("records"):
            lines.append(f"  {EVENTS[row['event']][2]}: {_cell('year', row)}")
        lines.append("")
    lines += [*_quoted(outlook.quoted), "", *_data_worth(outlook.data_worth), ""]
    if outlook.returns is not None:
        lines.append("money for 1 % less loss, $")
        for row in outlook.returns.to_dict("records")[::5]:
            lines.append(f"  at {_number('flops', row['flops'])} FLOPs: {_cell('dollars', row)}")
        lines.append("")
    return "\n".join([*lines, *outlook.notes, "(medians, 90 % intervals; inputs: isoflop forecast --inputs)"])


def _quoted(table) -> list[str]:
    """What each share of the world's electricity needs, a column a share."""
    from scaling.outlook.quoted import FROM, NEEDS, QUOTED, UNTIL

    shares = table.to_dict("records")
    title = f"quoted: of the world's electricity in {UNTIL}"
    lines = [f"{title:<45}" + "".join(f"{row['share']:>25.0%}" for row in shares)]
    for name, label in NEEDS.items():
        label += f" from {FROM} on" if name.endswith(("growth", "_a_year")) else ""
        lines.append(f"  {label:<43}" + "".join(f"{_cell(name, row):>25}" for row in shares))
    for share, source in QUOTED.items():
        lines += textwrap.wrap(f"{share:.0%}: {source}", 110, initial_indent="  ", subsequent_indent="    ")
    return lines


def _data_worth(table) -> list[str]:
    """What text that nobody else has is worth, a line a budget, a column a part of the text that is best."""
    from scaling.outlook.unique_data import PARTS

    lines = [
        "text that nobody else has: what a million more tokens are worth, with so much of the best number",
        f"{'FLOPs':>10}{'best':>12}" + "".join(f"{f'1/{1 / part:g}':>31}" for part in PARTS),
    ]
    for flops, rows in table.groupby("flops", sort=False):
        cells = [
            f"{_number('flops', row['worth_flops'])} FLOPs, ${_number('dollars', row['dollars'])}"
            for row in rows.to_dict("records")
        ]
        tokens = _number("tokens", rows["tokens"].iloc[0])
        lines.append(f"{_number('flops', flops):>10}{tokens:>12}" + "".join(f"{cell:>31}" for cell in cells))
    return lines


def inputs_as_text(scenarios) -> str:
    """Each input, and below it where it is from."""
    from scaling.outlook.inputs import list_inputs

    lines = []
    for name, scenario, value in list_inputs(scenarios):
        where = "" if scenario == "all" else f"{scenario}."
        year = f" in {value.year:g}" if value.year else ""
        lines.append(f"{where}{name} = {value.value:g} [{value.lo:g}, {value.hi:g}] {value.unit}{year}")
        lines.append(f"    {value.source}")
    return "\n".join(lines)


def _inputs(scenarios):
    import pandas as pd

    from scaling.outlook.inputs import list_inputs

    rows = [
        {"input": name, "scenario": scenario, **asdict(value)}
        for name, scenario, value in list_inputs(scenarios)
    ]
    return pd.DataFrame(rows)


def _cell(name: str, row: dict) -> str:
    value, lo, hi = (_number(name, row[f"{name}{end}"]) for end in ("", "_lo", "_hi"))
    return f"{value} [{lo}, {hi}]"


def _number(name: str, value: float) -> str:
    """Two digits, with a unit of thousands where there are many; years whole."""
    if value == float("inf"):
        return "later" if name == "year" else "∞"
    if name == "year":
        return f"{int(value)}"
    if name == "loss":
        return f"{value:.3f}"
    if name.endswith("flops"):
        return f"{value:.1e}".replace("e+", "e")
    if name.endswith("_share") or name == "of_growth":
        return f"{_two(100 * value)}%"
    large = name in ("tokens", "text_stock", "dollars", "fixed_dollars", "tonnes_co2")
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")) if large else ():
        if value >= limit:
            return f"{_two(value / limit)}{unit}"
    return _two(value)


def _two(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.6g}" if value >= 0.01 else f"{value:.2g}"
