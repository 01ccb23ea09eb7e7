"""Print the log of a run: its attempts, warnings, and the traceback of a failure. RUN may be shortened. Of a
run whose worker was killed from outside (out of memory, time limit), what its scheduler has to say follows.
Without RUN: which logs there are. A worker's or a scheduler's log is read by the name given there.

Example: isoflop logs out/quickstart 3f2a
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from experiments.evaluate.terminal import printable
from launch.arguments.studies import chosen_runs, open_study
from launch.backends import BACKENDS, load_backend
from launch.monitor.text import duration, short
from launch.store import Store

FLAGS = flags.FlagValues()
flags.DEFINE_bool("follow", False, "go on as the log grows", short_name="f", flag_values=FLAGS)
USAGE = "isoflop logs DIR [RUN] [--follow]"
POLL_SECONDS = 0.3
SHOWN = 20  # runs in the list
TAIL = 15  # lines of a slot's log beside a run's
ENDED = ("done", "diverged", "failed", "cancelled")


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints a log, or the list of logs."""
    if len(args) not in (1, 2):
        raise ValueError(f"expected a study folder and a run, got {args}; usage: {USAGE}")
    store = open_study(args[:1], USAGE)
    if len(args) == 1:
        print(listing(store))
        return 0
    found = [path for path in other_logs(store) if args[1] in (path.stem, path.stem.partition("-")[2])]
    if found:
        show(found[0], follow=lambda: flags.follow)
        return 0
    (run_id,) = chosen_runs(store, args[1:])
    log = store.run_folder(run_id) / "log.txt"
    if flags.follow:
        show(log, follow=lambda: store.states()[run_id] not in ENDED)
    elif log.exists():
        show(log, follow=lambda: False)
    if outside := from_outside(store, run_id):
        print(outside)
    elif not log.exists():
        listed = f"`isoflop logs {store.argument}` lists what workers have printed"
        raise ValueError(f"{run_id}: no log yet, because no worker has begun it; {listed}")
    return 0


def show(path: Path, follow: Callable[[], bool]) -> None:
    """Prints the file; while `follow()` is true waits for more of it, and for the file itself."""
    offset, more = 0, True
    while more:
        more = follow()  # asked first: what was written before the end is still printed
        if path.exists():
            with open(path, errors="replace") as file:
                file.seek(offset)
                while text := file.read(2**20):
                    sys.stdout.write(printable(text))
                offset = file.tell()
        sys.stdout.flush()
        time.sleep(POLL_SECONDS if more else 0)


def other_logs(store: Store) -> list[Path]:
    """What workers and a scheduler's jobs have printed outside of any run, oldest first."""
    files = [path for name in BACKENDS for path in load_backend(name).logs(store)]
    return sorted(files, key=lambda path: path.stat().st_mtime)


def from_outside(store: Store, run_id: str) -> str:
    """What a run's own log cannot say: how the job ended that had the run, and the end of the job's log.

    "" where the run has ended well, is at work, or was released in order.
    """
    owner = killed_owner(store, run_id)
    found = [job for name in BACKENDS if owner and (job := load_backend(name).log_of_process(store, owner))]
    if not found:
        return ""
    lines = found[0].path.read_text(errors="replace").splitlines()[-TAIL:]
    head = f"its worker was {found[0].description}; {found[0].path}:"
    return "\n".join([head, *(f"  {printable(line)}" for line in lines)])


def killed_owner(store: Store, run_id: str) -> dict[str, Any]:
    """The process, {"host", "pid", …}, that was killed with this run in hand; {} if none was."""
    state = store.states()[run_id]
    if state not in ("planned", "failed"):
        return {}
    leases = [path for path in (store.root / "lease").glob(f"{run_id}.*") if path.suffix[1:].isdecimal()]
    leases.sort(key=lambda path: -int(path.suffix[1:]))
    if state == "planned":
        leases = leases[:1]  # those before were followed by others; the end of a failed run names them, too
    for path in leases:
        with contextlib.suppress(json.JSONDecodeError):  # torn by a power cut
            if path.stat().st_mtime != 0:  # not released
                return json.loads(path.read_text())
    return {}


def listing(store: Store) -> str:
    """A line a log: name, size, age and last line; of many runs the last ones."""
    of_runs = [(store.run_folder(run_id) / "log.txt", run_id) for run_id in store.plan.runs()]
    begun = [(path, name) for path, name in of_runs if path.exists()]
    begun.sort(key=lambda each: each[0].stat().st_mtime)
    lines = [_line(path, path.stem) for path in other_logs(store)]
    lines += [f"{len(begun) - SHOWN} more runs, then the last {SHOWN}:"] if len(begun) > SHOWN else []
    lines += [_line(path, name) for path, name in begun[-SHOWN:]]
    return "\n".join(lines) or f"{store.folder}: no logs yet, because no worker has begun"


def _line(path: Path, name: str) -> str:
    status = path.stat()
    with open(path, "rb") as file:
        file.seek(max(0, status.st_size - 2000))
        last = file.read().decode(errors="replace").strip().rpartition("\n")[2]
    age = duration(time.time() - status.st_mtime)
    return f"{name:<18} {short(status.st_size):>6}B {age:>14} ago  {last[:70]}".rstrip()
