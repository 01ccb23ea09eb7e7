"""What of a study is done, running, left or failed, and why; how long the rest takes and what it costs. Read
from its folder alone, in a moment, however many runs there are.

Example: isoflop status out/quickstart --watch
"""

import json
import time
from dataclasses import asdict
from pathlib import Path

from absl import flags

from launch.arguments.studies import open_study
from launch.backends import backends_of
from launch.monitor import prices
from launch.monitor.bands import read_bands
from launch.monitor.display import LOG_SECONDS, Display
from launch.monitor.progress import FAILURES_SHOWN, Failure, StudyProgress, read_progress
from launch.monitor.text import duration, n_runs, running_line, short, summary
from launch.store import STATES, UNFINISHED, Store

FLAGS = flags.FlagValues()
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
flags.DEFINE_bool("watch", False, "show it again and again, until the study ends", flag_values=FLAGS)
flags.DEFINE_bool("scheduler", False, "ask the schedulers of the study's jobs, too", flag_values=FLAGS)
USAGE = "isoflop status DIR [--watch] [--scheduler] [--json]"
WATCH_SECONDS = 1.0
RUNNING_SHOWN = 20
ERRORS_SHOWN = 5


def run(args: list[str], flags: flags.FlagValues) -> int:
    """Prints the state; 1 if runs have failed."""
    store = open_study(args, USAGE)
    if flags.watch:
        seen = watch(store)
    else:
        seen = read_progress(store)
        scheduler = scheduler_lines(store) if flags.scheduler else []
        if flags.json:
            print(json.dumps(as_json(store, seen) | {"scheduler": scheduler}, indent=1))
        else:
            print("\n".join([*as_lines(store, seen), *scheduler]))
    return 1 if seen.count("failed") else 0


def watch(store: Store) -> StudyProgress:
    """Shows the state again and again until the study is finished, or cannot go on by itself."""
    display = Display()
    while True:
        began = time.monotonic()
        seen = read_progress(store)
        dropped = store.plan.dropped()
        held_up = any(s in ("failed", "cancelled") and r not in dropped for r, s in seen.states.items())
        ended = store.finished.exists() or (held_up and not seen.count(*UNFINISHED))
        if ended or not display.live:
            display.clear()
            print("\n".join(as_lines(store, seen)), flush=True)
        else:
            display.show(as_lines(store, seen))
        if ended:
            return seen
        time.sleep(max(WATCH_SECONDS if display.live else LOG_SECONDS, 5 * (time.monotonic() - began)))


def scheduler_lines(store: Store) -> list[str]:
    """What the schedulers say of the study's jobs: one question a backend."""
    lines = [line for backend, jobs in backends_of(store) for line in backend.states(jobs)]
    return lines or ["no scheduler knows of a job of this study"]


def as_json(store: Store, seen: StudyProgress) -> dict:
    """The state as plain values."""
    spent, left = seen.worker_seconds or (None, None)
    bands = read_bands(store, seen)
    return {
        "folder": str(store.folder),
        "finished": store.finished.exists(),
        "counts": {state: seen.count(state) for state in STATES},
        "stages": seen.stages,
        "waiting": store.plan.waiting_stages(),
        "seconds_left": seen.seconds_left,
        "worker_seconds": {"spent": spent, "left": left},
        "prices": prices.read(store),
        "n_workers": seen.n_workers,
        "found": _found(store),
        "running": [
            {"run_id": run.run_id, "stage": run.stage, **progress} | bands.as_json(run.run_id)
            for run, progress in seen.running
        ],
        "doubts": bands.doubts(),
        "failures": [asdict(failure) | {"log": str(_log(store, failure))} for failure in seen.failures],
    }


def as_lines(store: Store, seen: StudyProgress) -> list[str]:
    """The state as a small table, the running runs and what is expected of them, what is not as it should be,
    time and cost, and the first failures."""
    bands = read_bands(store, seen)
    lines = [f"{store.folder}: {'finished' if store.finished.exists() else 'not finished'}"]
    width = max([5, *map(len, seen.stages), *map(len, store.plan.waiting_stages())])
    lines.append(f"  {'stage':<{width}}" + "".join(f"{state:>10}" for state in STATES))
    for stage, counts in seen.stages.items():
        lines.append(f"  {stage:<{width}}" + "".join(f"{counts[state]:>10}" for state in STATES))
    for stage in store.plan.waiting_stages():
        lines.append(f"  {stage:<{width}}  is planned when the runs before it are done")
    if dropped := len(store.plan.dropped()):
        lines.append(f"{n_runs(dropped)} of the cancelled set aside: no longer in the study")
    if seen.running:
        workers = f"{seen.n_workers} worker{'' if seen.n_workers == 1 else 's'}"
        lines.append(f"{len(seen.running)} running on {workers}, {short(seen.tokens_per_second)} tokens/s")
        for run, progress in seen.running[:RUNNING_SHOWN]:
            lines.append(running_line(run, progress, columns=110, names=seen.settings))
            lines += bands.lines(run.run_id)
        if len(seen.running) > RUNNING_SHOWN:
            lines.append(f"  and {len(seen.running) - RUNNING_SHOWN} more")
    lines += bands.doubts()
    for stray in store.strays():
        lines.append(f"{stray} is no file of ours and was left alone")
    for job in store.jobs()[-1:]:
        if job["kind"] == "stopped":
            lines.append(f"{job['backend']} controller {job['id']} stopped: {job['reason']}")
    return lines + _time_and_cost(store, seen) + _explained(store, seen) + _found(store)


def _found(store: Store) -> list[str]:
    """Of a finished study, what it found and where its page is."""
    if not store.finished.exists():
        return []
    _, _, conclusion = summary(store).strip().partition("\n\n")  # after the table of its stages
    return conclusion.splitlines()


def _time_and_cost(store: Store, seen: StudyProgress) -> list[str]:
    """At the speeds measured in this study."""
    if seen.worker_seconds is None:
        return []
    spent, left = (prices.words(seconds, prices.read(store)) for seconds in seen.worker_seconds)
    if not seen.count(*UNFINISHED):
        return [f"spent about {spent}"]
    when = f"time left about {duration(seen.seconds_left or 0)}" if seen.running else "nothing runs now"
    return [f"{when}; spent about {spent}; left about {left}"]


def _explained(store: Store, seen: StudyProgress) -> list[str]:
    """The first failures, equal ones together."""
    alike: dict[str, list[Failure]] = {}
    for failure in seen.failures:
        alike.setdefault(failure.error, []).append(failure)
    lines = []
    for error, failures in list(alike.items())[:ERRORS_SHOWN]:
        first = failures[0]
        least = "at least " if len(seen.failures) == FAILURES_SHOWN else ""
        others = f" and {least}{n_runs(len(failures) - 1)} more" if len(failures) > 1 else ""
        tries = f"{first.attempts} attempt{'s' if first.attempts > 1 else ''}"
        ended = f"failed after {tries}" if first.state == "failed" else f"failed in {tries}, is tried again"
        lines += [f"{first.run_id}{others} {ended}: {error}", f"  log: {_log(store, first)}"]
    if seen.count("failed"):
        lines.append(f"`isoflop retry {store.argument}` gives failed runs their attempts back")
    return lines


def _log(store: Store, failure: Failure) -> Path:
    return store.run_folder(failure.run_id) / "log.txt"
