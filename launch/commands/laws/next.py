"""The runs to make next: those that narrow the interval of a target most for their FLOPs, and what they cost.

TABLE is what `isoflop fit` takes, DIR a study; the law is fitted to it here, as `isoflop fit` does. Without
either, a first grid for the budget is shown: spend a part of the compute on it, and the rest on what this
command then proposes.

Example: isoflop next out/quickstart --flops 1e14 --target loss@1e15
Example: isoflop next runs.csv --flops 2e20 --target n_params@1e22 --hardware a100 --out next.csv
Example: isoflop next --flops 1e19 --target loss@1e21
"""

import json

from absl import flags

from launch.arguments.tables_and_fits import check_out, form_of_study, number, parse_columns, parse_given
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop next [TABLE|DIR] --flops BUDGET [--target loss@FLOPS|n_params@FLOPS|a] [flags]"
flags.DEFINE_float("flops", None, "FLOPs of all the runs together", flag_values=FLAGS)
flags.DEFINE_string(
    "target",
    None,
    "loss@FLOPS, n_params@FLOPS (the best size) or a, its exponent; default: loss at 10 times the largest",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "with_verify", False, "of a study: its verification run is among the runs so far", flag_values=FLAGS
)
flags.DEFINE_list("sizes", [], "the only values that n_params may take, as 1e8,2e8", flag_values=FLAGS)
flags.DEFINE_string("law", "chinchilla", "form of the law; `isoflop list laws` shows them", flag_values=FLAGS)
flags.DEFINE_list("given", [], "what else the law reads, as unique_tokens=1e10", flag_values=FLAGS)
flags.DEFINE_list(
    "columns", [], "names in the table, for example n_params=N,n_tokens=D,loss=L", flag_values=FLAGS
)
flags.DEFINE_string(
    "hardware", "h100", "what the runs are made on: h100, a100, tpu-v5e, …", flag_values=FLAGS
)
flags.DEFINE_integer("n_devices", 1, "how many of them", flag_values=FLAGS)
flags.DEFINE_float("mfu", 0.4, "share of their peak that the runs reach", flag_values=FLAGS)
flags.DEFINE_string("out", None, "write the runs here: n_params,n_tokens,flops (.csv)", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)

AHEAD = 10.0  # the default target's compute, in units of the largest run's


def run(args: list[str], flags) -> int:
    """Prints, and with --out writes, the runs."""
    if len(args) > 1 or flags.flops is None:
        raise ValueError(f"expected --flops and at most one table or study, got {args}; usage: {USAGE}")
    check_out(flags.out)
    columns, given = parse_columns(flags.columns), parse_given(flags.given)
    sizes = [number("--sizes", text) for text in flags.sizes] or None
    prepare_process()  # before anything imports jax
    from experiments.files import write_atomic
    from scaling.outlook.cost import cost
    from scaling.table.formats import as_csv

    cost(0.0, flags.hardware, flags.n_devices, flags.mfu)  # refuses what it does not know before the fit
    if args:
        fit, plan = _planned(args[0], flags, columns, sizes, given)
        table, expected = plan.runs, about(plan) | {"predicted_by": fit.predicted_by, "doubt": fit.doubt}
    else:
        table, expected = _first(flags), {}
    paid = cost(table["flops"].to_numpy(), flags.hardware, flags.n_devices, flags.mfu)
    if flags.out:
        write_atomic(flags.out, as_csv(table))
    if flags.json:
        rows = table.assign(hours=paid.hours, dollars=paid.money, kwh=paid.kwh).to_dict("records")
        print(json.dumps({**expected, "runs": rows}, indent=1))
    else:
        print("\n".join([*as_text(table, paid), *(_expected(expected) if expected else [])]))
    return 0


def _planned(path: str, flags, columns: dict[str, str], sizes: list[float] | None, given: dict[str, float]):
    import scaling
    from scaling.design.next_runs import next_runs

    runs = scaling.read_runs(path, columns)
    runs = runs.with_verification() if flags.with_verify else runs
    fit = scaling.fit(runs, law=flags.law, **form_of_study(path, flags.law))
    largest = float(runs.usable().table["flops"].to_numpy().max())
    target = flags.target or f"loss@{AHEAD * largest:.3g}"
    return fit, next_runs(fit, runs, target, flags.flops, sizes, **given)


def _first(flags):
    from scaling.design.next_runs import first_grid

    what, at, flops = (flags.target or "").partition("@")
    if what not in ("loss", "n_params") or not at:
        raise ValueError("without a table, give --target loss@FLOPS: what the grid is to predict")
    if flags.sizes or flags.given or flags.columns:
        raise ValueError("--sizes, --given and --columns need a table of runs")
    return first_grid(flags.flops, number("--target", flops))


def about(plan) -> dict[str, object]:
    """The target, now and after the runs."""
    target = plan.target
    now = {"target": target.name, "value": target.value, "lo": target.lo, "hi": target.hi}
    return now | {"expected_lo": plan.lo, "expected_hi": plan.hi, "level": plan.level}


def as_text(table, paid) -> list[str]:
    """A line a run, then all of them together."""
    lines = [f"{'n_params':>10}{'n_tokens':>10}{'flops':>10}{'hours':>10}{'dollars':>10}"]
    for (_, row), hours, money in zip(table.iterrows(), paid.hours, paid.money):
        size = row["n_params"] if "n_params" in row else row["n_active"]
        lines.append(f"{size:10.4g}{row['n_tokens']:10.4g}{row['flops']:10.3g}{hours:10.3g}{money:10.3g}")
    return [*lines, f"{len(table)} runs, {paid}"]


def _expected(expected: dict) -> list[str]:
    return [
        f"{expected['target']}: {expected['value']:.5g}, now [{expected['lo']:.5g}, {expected['hi']:.5g}], "
        f"expected with these runs [{expected['expected_lo']:.5g}, {expected['expected_hi']:.5g}] "
        f"({expected['level']:.0%} intervals)",
        *([expected["doubt"]] if expected["doubt"] else []),
        f"predictions are by {expected['predicted_by']}",
    ]
