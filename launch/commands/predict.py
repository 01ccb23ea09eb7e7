"""The best model for a budget, or the loss of given models, from a fitted law; with intervals.

Intervals are for the measured loss of one new run, so they hold run-to-run noise. A law of other columns, or
of another target than the loss, is asked by a table: --points.

Example: isoflop predict fit.json --flops 1e21
Example: isoflop predict fit.json --params 7e9 --tokens 1.4e11
Example: isoflop predict fit.json --points planned.csv --out predicted.csv
"""

import dataclasses
import json
from pathlib import Path

from absl import flags

from launch.commands.fit import check_out, has_frontier, parse_columns
from launch.worker import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop predict FIT.json (--flops C | --params N --tokens D | --points P.csv) [flags]"
flags.DEFINE_list("flops", [], "budgets to split best between size and tokens, C = 6·N·D", flag_values=FLAGS)
flags.DEFINE_float("params", None, "parameters of the model", flag_values=FLAGS)
flags.DEFINE_float("tokens", None, "tokens it is trained on", flag_values=FLAGS)
flags.DEFINE_string(
    "points",
    None,
    "table of what the law reads (n_tokens may come from flops), a row a run",
    flag_values=FLAGS,
)
flags.DEFINE_list("columns", [], "names in that table, for example n_params=N,n_tokens=D", flag_values=FLAGS)
flags.DEFINE_string("out", None, "write the table here instead of printing it (.csv)", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)


def run(args: list[str], flags) -> int:
    """Prints, or with --out writes, what is foretold."""
    if len(args) != 1:
        raise ValueError(f"expected one fit.json, got {args}; usage: {USAGE}")
    one_model = flags.params is not None or flags.tokens is not None
    if sum([bool(flags.flops), one_model, flags.points is not None]) != 1:
        raise ValueError("give one of --flops C, --params N with --tokens D, and --points P.csv")
    if one_model and (flags.params is None or flags.tokens is None):
        raise ValueError("--params and --tokens go together; for the best split of a budget give --flops")
    check_out(flags.out)
    budgets = [_number(text) for text in flags.flops]
    columns = parse_columns(flags.columns)
    prepare_process()  # before anything imports jax
    import pandas as pd

    import scaling
    from experiments.files import write_atomic
    from scaling import laws
    from scaling.runs import read_points

    fit = read_fit(Path(args[0]))
    law = laws.find(fit.law)
    if not flags.points and not has_frontier(law):
        reads = ", ".join(law.columns)
        raise ValueError(
            f"the law {fit.law} tells {law.target} from {reads}; give a table of them by --points"
        )
    if budgets:
        best = dataclasses.asdict(scaling.frontier(fit, budgets))
        del best["level"]
        table = pd.DataFrame(best)
    else:
        if one_model:
            table = pd.DataFrame({"n_params": [flags.params], "n_tokens": [flags.tokens]})
            points = dict(table)
        else:
            table, points = read_points(flags.points, columns, law.columns)
        value, lo, hi = fit.predict(**points)
        name = law.target
        table = table.assign(**{f"{name}_pred": value, f"{name}_lo": lo, f"{name}_hi": hi})
    if flags.out:
        write_atomic(flags.out, table.to_csv(index=False))
    elif flags.json:
        print(json.dumps(json.loads(str(table.to_json(orient="records", double_precision=15))), indent=1))
    else:
        print(table.to_csv(index=False).rstrip() if flags.points else as_text(table, fit.level))
    return 0


def read_fit(path: Path):
    """The fit in a JSON file.

    Raises:
      ValueError: it is not there, not JSON, or not a fit.
    """
    from scaling import Fit

    if not path.is_file():
        raise ValueError(f"{path} is no file; make one with: isoflop fit TABLE --out fit.json")
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not JSON ({error}); make one with: isoflop fit TABLE --out fit.json"
        ) from error
    return Fit.from_json(content)


def as_text(table, level: float) -> str:
    """One line a model: value [lo, hi]."""
    lines = []
    for _, row in table.iterrows():
        if "flops" in row:
            size = f"{row['n_params']:.4g} [{row['n_params_lo']:.3g}, {row['n_params_hi']:.3g}]"
            tokens = f"{row['n_tokens']:.4g} [{row['n_tokens_lo']:.3g}, {row['n_tokens_hi']:.3g}]"
            lines += [
                f"budget     {row['flops']:.4g} FLOPs (C = 6·N·D)",
                f"params     {size}",
                f"tokens     {tokens}",
            ]
        loss = row["loss"] if "loss" in row else row["loss_pred"]
        lines.append(f"loss       {loss:.4f} [{row['loss_lo']:.4f}, {row['loss_hi']:.4f}]")
    return "\n".join([*lines, f"({level:.0%} intervals; of the loss for one new run)"])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--flops {text}: expected a number such as 1e21") from None
