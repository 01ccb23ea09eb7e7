"""The page of a study, or of any table of runs with a law: report.html, and what a paper takes beside it.

That is figures/*.png and *.pdf, and appendix.tex and appendix.md: the fit and its conventions to paste. With
--out x/r2.html they are x/r2-figures/ and x/r2-appendix.*, and nothing else in x/ is touched.

The law is DIR/fit.json, or the one given by --fit, or is fitted on the spot (Chinchilla). Sections with
nothing to show are left out. The page is one file, loads nothing from anywhere and can be mailed. While the
study runs it is made of the runs that are finished, and says what is missing.

Example: isoflop report out/quickstart
Example: isoflop report runs.csv --columns n_params=N,n_tokens=D,flops=C --out report.html
"""

import time
from pathlib import Path

from absl import flags

from launch.arguments.tables_and_fits import check_out, define_law, parse_columns, run_law
from launch.store import Store
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop report DIR|TABLE [flags]"
flags.DEFINE_string("out", None, "the page; default: report.html in DIR, or beside TABLE", flag_values=FLAGS)
flags.DEFINE_string("fit", None, "a fit.json to show instead of the directory's own", flag_values=FLAGS)
flags.DEFINE_list(
    "columns", [], "names in the table, for example n_params=N,n_tokens=D,loss=L", flag_values=FLAGS
)
flags.DEFINE_bool(
    "forecast", False, "add when text, power and money run short, see `isoflop forecast`", flag_values=FLAGS
)
# The page's word for each state of a run.
WORDS = {
    "done": "finished",
    "diverged": "finished",
    "claimed": "running",
    "running": "running",
    "planned": "left",
    "failed": "failed",
    "cancelled": "cancelled",
}
define_law(FLAGS)


def run(args: list[str], flags) -> int:
    """Writes the page and its figures, and prints where it is."""
    if len(args) != 1:
        raise ValueError(f"expected one study directory or table of runs, got {args}; usage: {USAGE}")
    check_out(flags.out)
    columns = parse_columns(flags.columns)
    prepare_process()  # before anything imports jax
    from experiments.study_report import write_report
    from scaling.report import MissingRuns

    run_law(flags.law)
    source = Path(args[0])
    out = Path(flags.out) if flags.out else (source if source.is_dir() else source.parent) / "report.html"
    fit = Path(flags.fit) if flags.fit else None
    store, missing = Store(source), None
    if store.root.is_dir() and not store.finished.exists():
        missing = MissingRuns(_bring_table_up_to_date(store), time.strftime("%Y-%m-%d at %H:%M"))
    print(write_report(source, out, fit, columns, flags.forecast, missing))
    return 0


def _bring_table_up_to_date(store: Store) -> dict[str, dict[str, int]]:
    """Writes the table of the runs that are finished now; returns how many of each stage are how far.

    Raises:
      ValueError: no run is finished.
    """
    from launch.driver.stages import write_table

    states, planned, runs = store.states(), store.plan.runs(), {}
    for run_id, state in states.items():
        counts = runs.setdefault(planned[run_id].stage, {})
        counts[WORDS[state]] = counts.get(WORDS[state], 0) + 1
    stage_of = {r: planned[r].stage for r, state in states.items() if WORDS[state] == "finished"}
    if not stage_of:
        raise ValueError(f"{store.folder}: no run is finished yet; see `isoflop status {store.argument}`")
    write_table(store, stage_of)
    return runs | {stage: {} for stage in store.plan.waiting_stages()}
