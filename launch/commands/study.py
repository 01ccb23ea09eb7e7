"""Plan, train, fit and report in one. Run the same command again to continue after any interruption; when all
is done it does nothing.

Example: isoflop study quickstart --out out/quickstart --set seed=1
"""

import importlib.metadata
import json
import os
import platform
import signal
import sys
from pathlib import Path
from typing import Any

from absl import flags

from experiments.files import write_atomic
from launch.local import Pool, WorkersFailed, machine_slots, whole_machine
from launch.lock import only_process
from launch.progress import Display, n_runs
from launch.store import Store
from launch.worker import prepare_process

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
USAGE = "isoflop study NAME|FILE.py --out DIR [--set FIELD=VALUE …] [flags]"
INTERRUPTED = 130
LIBRARIES = ("isoflop", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pandas")


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Runs the study to its end; 1 if runs fail, 130 if interrupted."""
    if len(args) != 1 or not flags.out:
        raise ValueError(f"expected the name of a study and --out, got {args}; usage: {USAGE}")
    store = Store(Path(flags.out))
    identity = {"name": _name(args[0]), "overrides": flags.set}
    _check_same_study(store.folder / "study.json", identity)
    if store.finished.exists():
        print(_last_words(store))
        return 0

    # The workers get this environment; this process itself plans and fits, and leaves accelerators to them.
    pool = Pool(store.folder, environment=dict(os.environ))
    parts, whole = machine_slots(flags.workers), whole_machine()
    os.environ["JAX_PLATFORMS"] = "cpu"
    prepare_process()
    from experiments.studies import load_study

    study = load_study(args[0], flags.set)
    if not store.root.exists():
        from launch.driver import plan_stages

        plan_stages(study, {})  # settings that cannot be planned are refused before anything is written
    store.create()
    with only_process(store.root / "driver.lock"):
        if not (store.folder / "study.json").exists():
            seed = getattr(study.settings, "seed", None)
            text = json.dumps(identity | {"seed": seed, "versions": _versions()}, indent=1)
            write_atomic(store.folder / "study.json", text + "\n")
        store.forgive()
        return _drive(study, store, pool, parts, whole)


def _drive(study, store: Store, pool: Pool, parts, whole) -> int:
    from launch.driver import RunsFailed, drive, final_table

    display = Display()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        runs = drive(study, store, pool, display, parts, whole)
        words = f"\n{final_table(runs)}\n\n{study.finish(store.folder, runs)}"
    except RunsFailed as error:
        return _report_failures(store, error.run_ids)
    except WorkersFailed as error:
        print(f"isoflop: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        what = error.strerror or error
        raise OSError(f"{store.folder}: {what}; when that is mended, the same command continues") from error
    except KeyboardInterrupt:
        display.clear()
        print("stopping: the workers save their runs; run the same command to continue", flush=True)
        return INTERRUPTED
    finally:
        display.clear()
        pool.stop()
    write_atomic(store.finished, words + "\n")
    print(_last_words(store))
    return 0


def _last_words(store: Store) -> str:
    """What the study found, and where its page is now: folders move."""
    page = store.folder / "report.html"
    return store.finished.read_text().rstrip("\n") + (f"\nreport: {page}" if page.exists() else "")


def _report_failures(store: Store, failed: list[str]) -> int:
    """Says which runs failed, why, and what to do."""
    print(f"isoflop: {n_runs(len(failed))} failed, for example", file=sys.stderr)
    errors = store.errors()
    for run_id in failed[:5]:
        print(f"  {run_id}: {errors[run_id]} (isoflop logs {store.folder} {run_id})", file=sys.stderr)
    print("the same command tries them again and continues", file=sys.stderr)
    return 1


def _check_same_study(path: Path, identity: dict[str, Any]) -> None:
    """Raises ValueError if `path` describes another study."""
    if not path.exists():
        return
    there, folder = json.loads(path.read_text()), path.parent
    if there["name"] != identity["name"]:
        raise ValueError(
            f"{folder}: holds the study {there['name']!r}, not {identity['name']!r}; choose another --out"
        )
    if _settings(there["overrides"]) != _settings(identity["overrides"]):
        was = " ".join(f"--set {override}" for override in there["overrides"]) or "no --set"
        raise ValueError(
            f"{folder}: was begun with {was}; give the same settings to continue, or choose another --out"
        )


def _settings(overrides: list[str]) -> dict[str, str]:
    """What the overrides come to: of two for one field the last counts."""
    fields = (override.partition("=") for override in overrides)
    return {name: value for name, _, value in fields}


def _name(text: str) -> str:
    """The study's name; of a user's own file its file name, so that both may move."""
    return Path(text).name if text.endswith(".py") else text


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in LIBRARIES
    }
