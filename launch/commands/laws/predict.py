"""The best model for a budget, or the loss of given models, from a fitted law; with intervals.

Intervals are for the measured loss of one new run, so they hold run-to-run noise. A law of other columns, or
of another target than the loss, is asked by a table, --points, or by --given for one model. The column `form`
of tables and JSON names the form of the law that leads the prediction: its relaxed form, unless it was fitted
with --norelax. A prediction of a model larger or smaller than the runs, of more or fewer tokens, or of other
compute carries a warning that says by which factor; JSON has these factors as `reach`. Where the fit is in
doubt, the warning says why; tables and JSON have its words as `warning`.

Example: isoflop predict fit.json --flops 1e21
Example: isoflop predict fit.json --loss 2.1 --inference_tokens 1e13
Example: isoflop predict fit.json --params 7B --tokens 140B --level 0.95
Example: isoflop predict batch.json --params 7B --tokens 140B --given batch_tokens=4e6
Example: isoflop predict fit.json --points planned.csv --out predicted.csv
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from absl import flags

from launch.arguments.tables_and_fits import (
    check_out,
    define_law,
    number,
    parse_columns,
    parse_given,
    read_fit,
    run_law,
)
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
define_law(FLAGS)
USAGE = "isoflop predict FIT.json|DIR (--flops C | --loss L | --params N --tokens D | --points P.csv) [flags]"
flags.DEFINE_list("flops", [], "budgets to split best between size and tokens", flag_values=FLAGS)
flags.DEFINE_list("loss", [], "losses to reach with the least compute", flag_values=FLAGS)
flags.DEFINE_float(
    "inference_tokens", 0.0, "tokens to serve, which the budget pays for too, 2·N each", flag_values=FLAGS
)
flags.DEFINE_float("max_params", float("inf"), "the largest model allowed", flag_values=FLAGS)
flags.DEFINE_float("max_tokens", float("inf"), "the most tokens there are", flag_values=FLAGS)
flags.DEFINE_list("given", [], "what else the law reads, as unique_tokens=1e11", flag_values=FLAGS)
flags.DEFINE_float("params", None, "parameters of the model", flag_values=FLAGS)
flags.DEFINE_float("tokens", None, "tokens it is trained on", flag_values=FLAGS)
flags.DEFINE_string(
    "points",
    None,
    "table of what the law reads (n_tokens may come from flops), a row a run",
    flag_values=FLAGS,
)
flags.DEFINE_list("columns", [], "names in that table, for example n_params=N,n_tokens=D", flag_values=FLAGS)
flags.DEFINE_float("level", None, "level of the intervals; default: the fit's", flag_values=FLAGS)
flags.DEFINE_string("out", None, "write the table here instead of printing it (.csv)", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)

NO_BEST_SIZE = "no best size is known: the loss falls without end towards smaller or larger models"


def run(args: list[str], flags) -> int:
    """Prints, or with --out writes, what is predicted."""
    if len(args) != 1:
        raise ValueError(f"expected one fit.json, or a study with one, got {args}; usage: {USAGE}")
    one_model = flags.params is not None or flags.tokens is not None
    if sum([bool(flags.flops), bool(flags.loss), one_model, flags.points is not None]) != 1:
        raise ValueError("give one of --flops C, --loss L, --params N with --tokens D, and --points P.csv")
    if one_model and (flags.params is None or flags.tokens is None):
        raise ValueError("--params and --tokens go together; for the best split of a budget give --flops")
    check_out(flags.out)
    budgets = [number("--flops", text) for text in flags.flops]
    losses = [number("--loss", text) for text in flags.loss]
    given = parse_given(flags.given)
    terms: dict[str, Any] = given | limits(flags)
    misplaced = limits(flags) if one_model else terms if flags.points else {}
    if misplaced:
        raise ValueError(f"{', '.join(misplaced)} go with --flops or --loss; a table has columns of its own")
    columns = parse_columns(flags.columns)
    prepare_process()  # before anything imports jax
    import numpy as np
    import pandas as pd

    import scaling
    from experiments.files import write_atomic
    from scaling import laws
    from scaling.fitting import reach
    from scaling.fitting.fit import check_level
    from scaling.optimum.returns import budget_for
    from scaling.prediction import disagreement
    from scaling.table.formats import as_csv
    from scaling.table.runs import read_points

    run_law(flags.law)
    fit = read_fit(Path(args[0]))
    if flags.level is not None:
        check_level(flags.level)
        fit = dataclasses.replace(fit, level=flags.level)
    law = laws.find(fit.law)
    if one_model and {*law.columns} != {law.size, "n_tokens", *given}:
        reads = ", ".join(law.columns)
        raise ValueError(
            f"the law {fit.law} predicts {law.target} from {reads}; say what else it reads by --given "
            "COLUMN=NUMBER, or give a table by --points"
        )
    if budgets or losses:
        best = scaling.frontier(fit, budgets, **terms) if budgets else budget_for(fit, losses, **terms)
        table = pd.DataFrame(dataclasses.asdict(best)).drop(columns="level")
        points = table.rename(columns={"n_params": law.size}).assign(**terms)  # what the law reads of it
    else:
        if one_model:
            said = {law.size: flags.params, "n_tokens": flags.tokens, **given}
            table = pd.DataFrame({name: [value] for name, value in said.items()})
            points = dict(table)
        else:
            table, points = read_points(flags.points, columns, law.columns)
        value, lo, hi = fit.predict(**points)
        name = law.target
        table = table.assign(**{f"{name}_pred": value, f"{name}_lo": lo, f"{name}_hi": hi})
    beyond = reaches(fit, law, pd.DataFrame(dict(points)))
    columns = {name: np.asarray(points[name], float) for name in law.columns}
    parted = disagreement.in_words(fit, columns)
    warnings = [
        "; ".join(filter(None, [reach.in_words(each, fit.evidence), forms, fit.doubt]))
        for each, forms in zip(beyond, parted)
    ]
    if budgets or losses:
        sizes = table["n_params"].to_numpy(float)
        warnings = [NO_BEST_SIZE if np.isnan(size) else said for size, said in zip(sizes, warnings)]
    table = table.assign(form=fit.forecast.law, warning=warnings)
    if flags.out:
        write_atomic(flags.out, as_csv(table))
    elif flags.json:
        table = table.assign(level=fit.level, reach=beyond)
        print(json.dumps(json.loads(str(table.to_json(orient="records", double_precision=15))), indent=1))
    else:
        print(as_csv(table).rstrip() if flags.points else as_text(table, fit))
    return 0


def reaches(fit, law, points) -> list[dict[str, float]]:
    """How far each of the points lies beyond the runs, by the columns that the law reads."""
    from scaling.fitting.reach import reach

    return [reach(fit.evidence, row) for row in points[[*law.columns]].to_dict("records")]


def as_text(table, fit) -> str:
    """A few lines a model: value [lo, hi]."""
    lines = []
    for _, row in table.iterrows():
        if "flops" in row:
            lines.append(f"budget     {_with_bounds(row, 'flops')} FLOPs")
            lines += [f"{what:<10} {_with_bounds(row, f'n_{what}')}" for what in ("params", "tokens")]
        name = "loss" if "loss" in row else "loss_pred"
        bounds = f" [{row['loss_lo']:.4f}, {row['loss_hi']:.4f}]" if "loss_lo" in row else ""
        lines.append(f"loss       {row[name]:.4f}{bounds}")
        lines += [f"warning: {row['warning']}"] if row["warning"] else []
    about = f"({100 * fit.level:.6g}% intervals; of the loss for one new run)"
    return "\n".join([*lines, about, f"predictions are by {fit.predicted_by}"])


def _with_bounds(row, name: str) -> str:
    bounds = f" [{row[f'{name}_lo']:.3g}, {row[f'{name}_hi']:.3g}]" if f"{name}_lo" in row else ""
    return f"{row[name]:.4g}{bounds}"


def limits(flags) -> dict[str, float]:
    """What a budget may be spent on, as far as it was said."""
    said = {name: getattr(flags, name) for name in ("inference_tokens", "max_params", "max_tokens")}
    return {name: value for name, value in said.items() if value != FLAGS[name].default}
