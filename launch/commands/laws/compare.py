"""Which law predicts larger runs best? Each is fitted to a table's cheaper runs, scored on the larger.

Says, too, when the runs cannot tell two laws apart, and which run would. This is about runs within the table;
`isoflop fit` and the page keep to their law, Chinchilla's unless --law says otherwise.

Example: isoflop compare runs.csv --laws chinchilla,kaplan
"""

import dataclasses
import json

from absl import flags

from launch.arguments.tables_and_fits import form_of_study, parse_columns
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop compare TABLE|DIR [flags]"
flags.DEFINE_list("laws", [], "laws to compare; default: all that the table feeds", flag_values=FLAGS)
flags.DEFINE_list(
    "columns", [], "names in the table, for example n_params=N,n_tokens=D,loss=L", flag_values=FLAGS
)
flags.DEFINE_integer("cuts", 4, "budgets at which the table is cut", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_float("level", 0.9, "level of the intervals", flag_values=FLAGS)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)


def run(args: list[str], flags) -> int:
    """Prints a line a law, best first, and the verdict."""
    if len(args) != 1:
        raise ValueError(f"expected one table of runs or study directory, got {args}; usage: {USAGE}")
    columns = parse_columns(flags.columns)
    prepare_process()  # before anything imports jax
    import scaling
    from scaling import laws
    from scaling.prediction.law_comparison import compare_laws

    runs = scaling.read_runs(args[0], columns)
    relax = form_of_study(args[0]).get("relax", True)
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
    for candidate in found.candidates[:2]:
        if use := laws.find(candidate.law).use:
            print(f"{candidate.law} is for: {use}")
    return 0
