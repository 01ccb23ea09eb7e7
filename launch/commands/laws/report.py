"""The page of a study, or of any table of runs with a law: report.html, and what a paper takes beside it.

That is figures/*.png and *.pdf, and appendix.tex and appendix.md: the fit and its conventions to paste. With
--out x/r2.html they are x/r2-figures/ and x/r2-appendix.*, and nothing else in x/ is touched.

The law is DIR/fit.json, or the one given by --fit, or is fitted on the spot (Chinchilla). Sections with
nothing to show are left out. The page is one file, loads nothing from anywhere and can be mailed. While the
study runs it is made of the runs that are finished, and says what is missing.

With --serve the page is shown to a browser on this machine, and follows the study: what runs now, workers and
time left every two seconds, curves and the rest every minute. When the study is finished it is the page that
the study has written.

Example: isoflop report out/quickstart
Example: isoflop report out/quickstart --serve
Example: isoflop report runs.csv --columns n_params=N,n_tokens=D,flops=C --out report.html
"""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from launch.arguments.tables_and_fits import check_out, define_law, parse_columns, run_law
from launch.monitor import live_page
from launch.monitor.bands import read_bands
from launch.monitor.progress import read_progress
from launch.store import Store
from launch.workers.process import plan_on_cpu, prepare_process

if TYPE_CHECKING:
    import pandas as pd

    from scaling.report import MissingRuns

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
flags.DEFINE_bool("serve", False, "show the page to a browser here, and follow the study", flag_values=FLAGS)
flags.DEFINE_integer("port", 8001, "of --serve; 0: any that is free", 0, 65535, flag_values=FLAGS)
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
    source = Path(args[0])
    fit = Path(flags.fit) if flags.fit else None
    if flags.serve:
        return serve_page(Store(source), fit, flags)
    prepare_process()  # before anything imports jax
    from experiments.study_report import write_report

    run_law(flags.law)
    out = Path(flags.out) if flags.out else (source if source.is_dir() else source.parent) / "report.html"
    store, missing = Store(source), None
    if store.root.is_dir() and not store.finished.exists():
        missing = missing_runs(store)
        if not missing.count("finished"):
            raise ValueError(f"{source}: no run is finished yet; see `isoflop status {store.argument}`")
    print(write_report(source, out, fit, columns, flags.forecast, missing))
    return 0


def serve_page(store: Store, fit: Path | None, flags: Any) -> int:
    """Serves the page of the study until interrupted."""
    if flags.out or flags.columns or flags.forecast or not store.root.is_dir():
        raise ValueError(
            "--serve follows a study's folder: give one, without --out, --columns and --forecast"
        )
    prepare_process()
    plan_on_cpu()
    from experiments.study_report import live_report, write_report

    run_law(flags.law)

    def make(version: str) -> str:
        return live_report(store.folder, fit, missing_runs(store), running_runs(store), version)

    def final() -> str:
        if live.version:  # then an earlier look may have written an older table over the last one
            missing_runs(store)
        page = store.folder / "report.html"
        return (page if page.exists() else write_report(store.folder, page, fit)).read_text(encoding="utf-8")

    live = live_page.LivePage(store, make, final)
    live_page.serve(live, flags.port)
    return 0


def running_runs(store: Store) -> "pd.DataFrame":
    """The runs that train now, as their curves are read."""
    import pandas as pd

    columns = ("run_id", "stage", "n_params", "n_tokens", "flops")
    rows = [{name: getattr(run, name) for name in columns} for run, _ in read_progress(store).running]
    return pd.DataFrame(rows, columns=list(columns)).assign(loss=math.nan)


def missing_runs(store: Store) -> "MissingRuns":
    """How many runs of each stage are how far, and what runs now; writes the table of those that are
    finished, if there are any."""
    from launch.driver.stages import write_table
    from scaling.report import MissingRuns

    states, planned, runs = store.states(), store.plan.runs(), {}
    for run_id, state in states.items():
        counts = runs.setdefault(planned[run_id].stage, {})
        counts[WORDS[state]] = counts.get(WORDS[state], 0) + 1
    if stage_of := {r: planned[r].stage for r, state in states.items() if WORDS[state] == "finished"}:
        write_table(store, stage_of)
    waiting: dict[str, dict[str, int]] = {stage: {} for stage in store.plan.waiting_stages()}
    seen = read_progress(store)
    now = tuple(live_page.now_lines(seen, read_bands(store, seen)))
    return MissingRuns(runs | waiting, time.strftime("%Y-%m-%d at %H:%M"), now)
