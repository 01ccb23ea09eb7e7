"""Drop the checkpoints that nothing needs: of finished runs all but the newest, of diverged ones all, branch
checkpoints that no unfinished run will start from, and what killed processes left half-written. Prints how
much it frees.

Example: isoflop gc out/quickstart --dry-run
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from experiments.files import read_json
from launch.arguments.studies import open_study
from launch.monitor.text import short
from launch.store import UNFINISHED, PlannedRun, Store

FLAGS = flags.FlagValues()
flags.DEFINE_bool(
    "all", False, "of finished runs drop the newest, too, but that of the verification run", flag_values=FLAGS
)
flags.DEFINE_bool("dry_run", False, "only say what would be dropped", flag_values=FLAGS)
USAGE = "isoflop gc DIR [--all] [--dry-run]"
KEPT = 1  # newest checkpoints of a finished run, for `isoflop evaluate` and `isoflop sample`
# As write_atomic, orbax and `drop` name what is not whole.
TEMPORARY = re.compile(r"^\.\w+\.(txt|json|jsonl|csv|html)\.\w{8}$|\.orbax-checkpoint-tmp|^\.dropped\.")
LEFTOVER_SECONDS = 3600.0  # of this age what is half-written has no writer any more


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Drops what nothing needs."""
    store = open_study(args, USAGE)
    kinds = {
        "checkpoints": list(checkpoints(store, flags.all)),
        "branch checkpoints": list(branch_checkpoints(store)),
        "leftovers": list(leftovers(store)),
    }
    total = 0
    for kind, paths in kinds.items():
        n_bytes = sum(map(size, paths))
        total += n_bytes
        print(f"{len(paths)} {kind}, {short(n_bytes)}B")
        if not flags.dry_run:
            for path in paths:
                drop(path)
    print(f"{'would free' if flags.dry_run else 'freed'} {short(total)}B")
    return 0


def checkpoints(store: Store, also_newest: bool) -> Iterator[Path]:
    """Of runs that have ended. Who failed may be tried again, who waits or runs needs all it has, and what
    others will start from, too."""
    needed = {_verified(store)} | _started_from(store)
    keep = {"done": 0 if also_newest else KEPT, "cancelled": 0 if also_newest else KEPT, "diverged": 0}
    for run_id, state in store.states().items():
        if state in keep:
            kept = KEPT if run_id in needed else keep[state]
            steps = sorted(_numbered(store.run_folder(run_id) / "checkpoints"))
            yield from (path for _, path in steps[: len(steps) - kept])


def branch_checkpoints(store: Store) -> Iterator[Path]:
    """Those from which no unfinished run starts; none while stages wait, whose runs may."""
    if store.plan.waiting_stages():
        return
    states, planned = store.states(), store.plan.runs()
    sharing: dict[str, list[PlannedRun]] = {}
    for run_id, state in states.items():
        if state in (*UNFINISHED, "failed"):
            sharing.setdefault(planned[run_id].trunk, []).append(planned[run_id])
    for prefix in _folders(store.shared_prefixes):
        if "." in prefix.name:  # is being written
            continue
        branches = sorted(_numbered(prefix))
        needed = {
            max((step for step, _ in branches if step <= run.branch_step), default=0)
            for run in sharing.get(prefix.name, [])
        }
        yield from (path for step, path in branches if step not in needed)


def leftovers(store: Store) -> Iterator[Path]:
    """Files and folders under their first, temporary names, whose writers are gone."""
    places = [store.root / "scratch", store.root, store.folder, store.shared_prefixes]
    for run_folder in _folders(store.folder / "runs"):
        places += [run_folder, run_folder / "checkpoints"]
    for place in places:
        for entry in os.scandir(place) if place.is_dir() else ():
            temporary = bool(TEMPORARY.search(entry.name)) or place.name == "scratch"
            temporary |= place == store.shared_prefixes and "." in entry.name
            old = time.time() - entry.stat(follow_symlinks=False).st_mtime > LEFTOVER_SECONDS
            if temporary and old:
                yield Path(entry.path)


def size(path: Path) -> int:
    """Bytes on disk of a file or a folder; what has vanished meanwhile counts nothing."""
    try:
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        return sum(file.stat().st_blocks * 512 for file in files)
    except FileNotFoundError:
        return 0


def drop(path: Path) -> None:
    """Removes a file or a folder. A folder loses its name first: nobody shall read half of it."""
    if path.is_file():
        path.unlink(missing_ok=True)
        return
    hidden = path.with_name(f".dropped.{path.name}") if not path.name.startswith(".") else path
    path.rename(hidden)
    shutil.rmtree(hidden)


def _verified(store: Store) -> str:
    """The run that checks the study's prediction; "" if there is none."""
    path = store.folder / "verify.json"
    return read_json(path).get("run_id", "") if path.exists() else ""


def _started_from(store: Store) -> set[str]:
    """The runs whose parameters an unfinished run will copy when it begins; all, while stages wait."""
    states = store.states()
    if store.plan.waiting_stages():
        return set(states)
    planned = store.plan.runs()
    configs = [planned[run_id].config for run_id, state in states.items() if state in (*UNFINISHED, "failed")]
    starts = {(config.get("init") or {}).get("source", "") for config in configs}
    return starts | {(config.get("objective") or {}).get("reward", "") for config in configs}


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []


def _numbered(parent: Path) -> list[tuple[int, Path]]:
    """Folders named by a step."""
    return [(int(path.name), path) for path in _folders(parent) if path.name.isdecimal()]
