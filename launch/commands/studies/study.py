"""Plan, train, fit and report in one. Run the same command again to continue after any interruption; when all
is done it does nothing.

Example: isoflop study quickstart --out out/quickstart --set seed=1
Example: isoflop study grid.toml --out out/grid
"""

from pathlib import Path

from absl import flags

from experiments.files import GRID_SUFFIXES, user_code
from launch.arguments.studies import check_pack
from launch.driver.drive import run_study
from launch.driver.outcome import exit_code_of
from launch.monitor.text import summary
from launch.store import Store, study_file
from launch.store.lock import exclusive_lock
from launch.workers.pool import machine_slots, whole_machine
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
USAGE = "isoflop study NAME|GRID.toml|FILE.py --out DIR [--set FIELD=VALUE …] [flags]"


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Runs the study to its end; 1 if runs fail, 130 if interrupted."""
    if len(args) != 1 or not flags.out:
        raise ValueError(f"expected the name of a study and --out, got {args}; usage: {USAGE}")
    store = Store(Path(flags.out))
    check_pack(flags.pack)
    study_file.check_name(store, args[0])
    study_file.check_settings(store, flags.set)
    study_file.check_same_grid(store, args[0])
    if store.finished.exists():
        print(summary(store))
        return 0
    plan_on_cpu()
    from experiments.studies import load_study
    from launch.driver.stages import check

    is_file = args[0].endswith((".py", *GRID_SUFFIXES))
    name = str(Path(args[0]).resolve()) if is_file else args[0]
    if name.endswith(".py"):
        user_code.run(name)
    with study_file.where_it_was_planned(store):  # begun there, continued from anywhere
        study = load_study(name, flags.set).prepared()
    if not store.root.exists():
        check(study)  # what cannot be planned is refused before anything is written
        store.create()
        print("\n".join(study.notes), end="\n" if study.notes else "", flush=True)
    with exclusive_lock(store.root / "driver.lock"):
        study_file.write(store, args[0], flags.set, study.settings, study.files)
        store.retry([run_id for run_id, state in store.states().items() if state == "failed"])
        parts, whole = machine_slots(flags.workers), whole_machine()
        return exit_code_of(store, lambda: run_study(store, lambda: study, parts, whole, flags.pack))
