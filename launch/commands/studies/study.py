"""Plan, train, fit and report in one. Run the same command again to continue after any interruption; when all
is done it does nothing.

Example: isoflop study quickstart --out out/quickstart --set seed=1
"""

import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags

from launch.backends import local
from launch.monitor.text import n_runs, summary
from launch.store import Store, study_file
from launch.store.lock import exclusive_lock
from launch.workers.pool import WorkersFailed, machine_slots, whole_machine
from launch.workers.process import plan_on_cpu

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "folder of the study", flag_values=FLAGS)
flags.DEFINE_multi_string("set", [], "change a setting: FIELD=VALUE; may be repeated", flag_values=FLAGS)
flags.DEFINE_integer(
    "workers",
    None,
    "workers at a time (default: one a GPU, else one a core)",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_string("pack", "auto", "runs that train as one program: auto or a number", flag_values=FLAGS)
USAGE = "isoflop study NAME|FILE.py --out DIR [--set FIELD=VALUE …] [flags]"
INTERRUPTED = 130


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Runs the study to its end; 1 if runs fail, 130 if interrupted."""
    if len(args) != 1 or not flags.out:
        raise ValueError(f"expected the name of a study and --out, got {args}; usage: {USAGE}")
    store = Store(Path(flags.out))
    check_pack(flags.pack)
    study_file.check_name(store, args[0])
    study_file.check_settings(store, flags.set)
    if store.finished.exists():
        print(summary(store))
        return 0
    plan_on_cpu()
    if not store.root.exists():
        from experiments.studies import load_study
        from launch.driver.stages import check

        check(load_study(args[0], flags.set))  # what cannot be planned is refused before anything is written
        store.create()
    with exclusive_lock(store.root / "driver.lock"):
        from experiments.studies import load_study

        study = load_study(args[0], flags.set)
        study_file.write(store, args[0], flags.set, study.settings)
        store.retry([run_id for run_id, state in store.states().items() if state == "failed"])
        parts, whole = machine_slots(flags.workers), whole_machine()
        return carried_out(store, lambda: local.run_study(store, lambda: study, parts, whole, flags.pack))


def carried_out(store: Store, action: Callable[[], str]) -> int:
    """Prints the words of an action that works on the study; returns the exit code."""
    try:
        print(action())
        return 0
    except local.RunsLeft as error:
        return report_left(store, error.run_ids)
    except WorkersFailed as error:
        print(f"isoflop: {error}", file=sys.stderr)
        return 1
    except local.Interrupted:
        return INTERRUPTED


def report_left(store: Store, run_ids: list[str]) -> int:
    """Says which runs ended without a result, why, and what to do; returns the exit code."""
    look = store.snapshot()
    n_failed = sum(look.states[run_id] == "failed" for run_id in run_ids)
    words = [f"{n_runs(n_failed)} failed"] if n_failed else []
    if n_failed < len(run_ids):
        words.append(f"{n_runs(len(run_ids) - n_failed)} cancelled")
    print(f"isoflop: {' and '.join(words)}, for example", file=sys.stderr)
    for run_id in run_ids[:5]:
        why = store.error(run_id, look.attempts[run_id]) if run_id in look.attempts else "cancelled"
        print(f"  {run_id}: {why} (isoflop logs {store.folder} {run_id})", file=sys.stderr)
    print(f"`isoflop retry {store.folder}` gives them new attempts, then continue", file=sys.stderr)
    return 1


def check_pack(pack: str) -> None:
    """Raises ValueError unless it is "auto" or a positive number."""
    if pack != "auto" and not (pack.isdecimal() and int(pack)):
        raise ValueError(f"--pack={pack}; it is auto or the number of runs that train together, at least 1")
