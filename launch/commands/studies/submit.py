"""Hand the runs of a planned study to a backend: this machine, Slurm or Kubernetes. Submitting again changes
nothing that is under way; it continues what was interrupted.

Example: isoflop submit out/quickstart --on slurm --site site.toml
"""

from absl import flags

from experiments.files import user_code
from launch.arguments.studies import check_pack, open_study, read_site
from launch.backends import BACKENDS, load_backend
from launch.backends.interface import Submission
from launch.driver.outcome import exit_code_of, report_left
from launch.monitor import prices
from launch.monitor.text import summary
from launch.store import UNFINISHED, Store, study_file
from launch.store.lock import exclusive_lock
from launch.workers.process import plan_on_cpu

FLAGS = flags.FlagValues()
flags.DEFINE_enum("on", "local", sorted(BACKENDS), "where the workers run", flag_values=FLAGS)
flags.DEFINE_integer(
    "workers",
    None,
    "workers at a time (default: the backend's own choice; 0: only plan stage after stage)",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_string("pack", "auto", "runs that train as one program: auto or a number", flag_values=FLAGS)
flags.DEFINE_string("site", None, "TOML file that describes the cluster", flag_values=FLAGS)
flags.DEFINE_bool("dry_run", False, "only show what would be submitted", flag_values=FLAGS)
LOCK_TIMEOUT = 60.0  # seconds that a controller waits for somebody who plans in the same folder
USAGE = "isoflop submit DIR --on local|slurm|kubernetes [--workers N] [--site FILE.toml] [--dry-run] [flags]"


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Submits, or finishes a study whose runs are all done; 1 if it cannot go on for failed runs."""
    store = Store(open_study(args, USAGE).folder.absolute())
    site = read_site(flags.site) if flags.site else {}
    check_pack(flags.pack)
    if store.finished.exists():
        print(summary(store))
        return 0
    study_file.check_code(store)
    if not flags.dry_run:
        user_code.keep(store.folder)
    if not _unfinished(store) and not flags.dry_run and (code := _advance(store)) is not None:
        return code
    if "cost" in site and not flags.dry_run:
        prices.note(store, site["cost"])
    runs = _unfinished(store)
    submission = Submission(
        store, runs, bool(store.plan.waiting_stages()), flags.workers, flags.pack, site, flags.dry_run
    )
    return exit_code_of(store, lambda: load_backend(flags.on).submit(submission))


def _unfinished(store: Store) -> list:
    planned = store.plan.runs()
    return [planned[run_id] for run_id, state in store.states().items() if state in UNFINISHED]


def _advance(store: Store) -> int | None:
    """Plans the next stage, or finishes the study; the exit code where nothing is left to submit."""
    plan_on_cpu()
    from launch.driver.stages import finish, stages

    with exclusive_lock(store.root / "driver.lock", LOCK_TIMEOUT):
        study = study_file.prepared(store)
        planned = next(stages(study, store))
        if planned.stage is None:
            print(finish(study, store, planned))
            return 0
        states = store.states()
        if any(state in UNFINISHED for state in states.values()):
            return None
        plan = planned.plans[planned.stage.name] or []
        return report_left(
            store, [run.run_id for run in plan if states[run.run_id] in ("failed", "cancelled")]
        )
