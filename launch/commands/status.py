"""What of a study is done, running, left or failed, read from its folder alone.

Example: isoflop status out/quickstart
"""

import json
from pathlib import Path

from absl import flags

from launch.progress import Snapshot, duration, running_line, short, snapshot
from launch.store import STATES, Store

FLAGS = flags.FlagValues()
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
USAGE = "isoflop status DIR [flags]"


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints the state; 1 if runs have failed."""
    store = open_study(args, USAGE)
    n_running = sum(state == "running" for state in store.states().values())
    seen = snapshot(store, n_running)
    print(json.dumps(as_json(store, seen), indent=1) if flags.json else as_text(store, seen))
    return 1 if seen.count("failed") else 0


def open_study(args: list[str], usage: str) -> Store:
    """The store of the study folder that is the first argument.

    Raises:
      ValueError: no or too many arguments, or no study there.
    """
    if len(args) != 1:
        raise ValueError(f"expected one study folder, got {args}; usage: {usage}")
    store = Store(Path(args[0]))
    if not store.root.is_dir():
        raise ValueError(f"{args[0]}: no study here; `isoflop study NAME --out {args[0]}` makes one")
    return store


def as_json(store: Store, seen: Snapshot) -> dict:
    """The state as plain values."""
    return {
        "folder": str(store.folder),
        "finished": store.finished.exists(),
        "counts": {state: seen.count(state) for state in STATES},
        "stages": seen.stages,
        "seconds_left": seen.seconds_left,
        "running": [{"run_id": run.run_id, "stage": run.stage, **progress} for run, progress in seen.running],
        "errors": seen.errors,
    }


def as_text(store: Store, seen: Snapshot) -> str:
    """The state as a small table, the running runs, and the first errors."""
    lines = [f"{store.folder}: {'finished' if store.finished.exists() else 'not finished'}"]
    width = max([5, *map(len, seen.stages)])
    lines.append(f"  {'stage':<{width}}" + "".join(f"{state:>10}" for state in STATES))
    for stage, counts in seen.stages.items():
        lines.append(f"  {stage:<{width}}" + "".join(f"{counts[state]:>10}" for state in STATES))
    if seen.running:
        left = "unknown" if seen.seconds_left is None else duration(seen.seconds_left)
        lines.append(
            f"{len(seen.running)} running, {short(seen.tokens_per_second)} tokens/s, time left {left}"
        )
        lines += [running_line(run, progress, columns=110) for run, progress in seen.running]
    for run_id, error in list(seen.errors.items())[:5]:
        lines.append(f"error in {run_id}: {error}")
    if seen.errors:
        lines.append(f"see `isoflop logs {store.folder} RUN`; `isoflop study` tries failed runs again")
    return "\n".join(lines)
