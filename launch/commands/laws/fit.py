"""Fit a scaling law to a table of runs: parameters and frontier with intervals, and what they predict.

TABLE is .csv, .jsonl or .parquet with the columns of the law: for most n_params, loss (nats per token) and
n_tokens or flops. DIR is a study; its runs are fitted as it fitted them, in the form, with the intervals and
resamples of its fit.json, as far as no flag says otherwise. Rows that cannot be used are named and left out,
and so are runs that say little of well-made ones: by what rule is said, of each of them in JSON (`unfit`).

Example: isoflop fit runs.csv --columns n_params=N,n_tokens=D,loss=L --out fit.json
Example: isoflop fit out/quickstart --approach 2
Example: isoflop fit out/quickstart --with_verify --out further.json
Example: isoflop fit tasks.csv --law downstream --delta 0.01
Example: isoflop fit runs.csv --law my_laws.py:my_law
"""

import dataclasses
import json

from absl import flags

from launch.arguments.tables_and_fits import check_out, form_of_study, has_frontier, parse_columns
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop fit TABLE|DIR [flags]"
flags.DEFINE_string(
    "law",
    "chinchilla",
    "form of the law, see `isoflop list laws`; or path.py:name, a Law of your own",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "approach",
    3,
    "the frontier's exponents: 1 from the runs' envelope, 2 from IsoFLOP profiles, 3 from the law",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "columns", [], "names in the table, for example n_params=N,n_tokens=D,loss=L", flag_values=FLAGS
)
flags.DEFINE_list(
    "convert",
    [],
    "what the table counts, and counts to turn into others, for example "
    "n_params=non_embedding:total,vocab_size=50304,tied=1",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "bootstrap", None, "resamples behind the intervals, 0 for none; default: 1000", flag_values=FLAGS
)
flags.DEFINE_string("holdout", None, "column whose true rows are not fitted but predicted", flag_values=FLAGS)
flags.DEFINE_integer("drop_highest", 0, "leave out the runs of the highest losses", flag_values=FLAGS)
flags.DEFINE_float("level", None, "level of the intervals; default: 0.9", flag_values=FLAGS)
flags.DEFINE_float(
    "delta",
    1e-3,
    "where the Huber loss of log loss (or of what the law predicts) turns linear",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "relax",
    None,
    "forecast with the law's relaxed form, the default; --norelax with the law itself",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "with_verify",
    False,
    "of a study: fit its verification run, too, to look further ahead",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "keep_all",
    False,
    "fit the runs, too, that are starved of steps, mostly warm-up or mistuned; they are said, not left out",
    flag_values=FLAGS,
)
flags.DEFINE_integer("seed", 0, "seed of the resampling", 0, flag_values=FLAGS)
flags.DEFINE_string("out", None, "write the fit to this JSON file", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print the fit as JSON", flag_values=FLAGS)

AHEAD = (1.0, 10.0, 100.0)  # budgets to predict at, in units of the largest run's
MANY = 10_000  # runs; of more, resampling envelopes takes longer than all the rest
TRUE = ("1", "1.0", "true", "yes", "test")


def run(args: list[str], flags) -> int:
    """Fits, writes with --out, and prints."""
    if len(args) != 1:
        raise ValueError(f"expected one table of runs or study directory, got {args}; usage: {USAGE}")
    check_out(flags.out)
    columns, convert = parse_columns(flags.columns), parse_columns(flags.convert, "convert")
    prepare_process()  # before anything imports jax
    import scaling
    from experiments.files import write_atomic
    from scaling import laws
    from scaling.fitting.fit import held_out
    from scaling.table import conventions

    law = laws.find(flags.law)
    whole = scaling.read_runs(args[0], columns, (*law.columns, law.target))
    runs, test = split(conventions.applied(whole, convert) if convert else whole, flags.holdout)
    runs = runs.with_verification() if flags.with_verify else runs
    if flags.drop_highest:
        runs = drop_highest(runs, flags.drop_highest)
    runs = dataclasses.replace(runs, keep_all=flags.keep_all)
    usable = runs.usable(law.target, law.columns, law.positive)
    given = {"relax": flags.relax, "level": flags.level, "n_bootstrap": flags.bootstrap}
    form = form_of_study(args[0], flags.law) | {k: v for k, v in given.items() if v is not None}
    fit = scaling.fit(
        usable, law=flags.law, approach=flags.approach, seed=flags.seed, delta=flags.delta, **form
    )
    if test is not None:
        fit = held_out(fit, test)
    content = json.dumps(fit.to_json(), allow_nan=False)
    if flags.out:
        write_atomic(flags.out, content + "\n")
    if flags.json:
        print(content)
    else:
        ahead = as_frontier(fit, float(usable.table["flops"].to_numpy().max())) if has_frontier(law) else []
        print(as_text(fit, [*as_approaches(usable, fit), *ahead]))
    return 0


def split(runs, column: str | None):
    """(runs to fit, runs to test on or None)."""
    if column is None:
        return runs, None
    if column not in runs.table:
        raise ValueError(f"--holdout {column}: no such column; the table has {', '.join(runs.table.columns)}")
    held = runs.table[column].astype(str).str.lower().isin(TRUE).to_numpy()
    if not held.any():
        raise ValueError(f"--holdout {column}: no row is true (1, true, yes or test), so nothing is held out")
    return runs.without(held, f"held out by {column}"), runs.without(~held, f"not held out by {column}")


def drop_highest(runs, n: int):
    """Without the `n` runs of the highest loss (and any that tie with them)."""
    import numpy as np

    if "loss" not in runs.table:
        raise ValueError(f"--drop_highest {n}: the table has no loss; it has {', '.join(runs.table.columns)}")
    loss = runs.table["loss"].to_numpy()
    if not 0 < n < len(loss):
        raise ValueError(
            f"--drop_highest {n}; it must be between 1 and {len(loss) - 1}, the table has {len(loss)} runs"
        )
    return runs.without(loss >= np.sort(loss)[-n], f"the {n} highest losses")


def as_text(fit, ahead: list[str]) -> str:
    """The fit, what lies ahead, conventions, and how it does on what was held out."""
    conventions = [f"convention: {k}: {what}" for k, what in fit.conventions.items() if isinstance(what, str)]
    held_out = ", ".join(f"{k} {v:.4g}" for k, v in fit.holdout.items())
    return "\n".join([str(fit), *ahead, *conventions, *([f"held out: {held_out}"] if held_out else [])])


def as_approaches(usable, fit) -> list[str]:
    """The exponent of the best size by three approaches, for Chinchilla's law with intervals."""
    from scaling.laws import find
    from scaling.optimum.approaches import approaches

    if find(fit.law).size_exponent is None or not len(fit.samples) or fit.n_points > MANY:
        return []
    return ["the best size by approach:", str(approaches(usable, fit))]


def as_frontier(fit, largest: float) -> list[str]:
    """What the fit predicts at the largest run's budget and beyond, a line each."""
    import scaling
    from scaling.fitting.reach import lever_arm
    from scaling.prediction.disagreement import parting

    lines = ["", f"{'flops':>10}  {'params':>9}  {'tokens':>9}  loss of a new run"]
    best = scaling.frontier(fit, [largest * factor for factor in AHEAD])
    for c, n, d, loss, lo, hi in zip(
        best.flops, best.n_params, best.n_tokens, best.loss, best.loss_lo, best.loss_hi
    ):
        far = lever_arm({"flops": c / largest}, fit.evidence)
        lines.append(
            f"{c:10.3g}  {n:9.3g}  {d:9.3g}  {loss:.4f}  [{lo:.4f}, {hi:.4f}]" + (f"  {far}" if far else "")
        )
    return [*lines, "(optimal split of a budget)", *filter(None, [parting(fit)])]
