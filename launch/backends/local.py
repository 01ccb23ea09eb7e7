"""Brings a study to its end on this machine: a pool of workers, stage after stage, with live status."""

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from launch.backends.submission import Request
from launch.monitor.display import Display
from launch.monitor.progress import read_progress
from launch.monitor.text import duration, finished_line, n_runs, stage_lines
from launch.store import UNFINISHED, PlannedRun, Store, study_file
from launch.store.leases import known_dead, process_identity
from launch.store.lock import exclusive_lock
from launch.workers.pool import Pool, Slot, machine_slots, sized, whole_machine
from launch.workers.process import plan_on_cpu, uninterrupted

POLL_SECONDS = 0.2
POLL_SHARE = 0.1  # of its time the driver spends on looking, at most


class Interrupted(Exception):
    """Somebody asked the driver to stop; the workers have saved their runs."""


class RunsLeft(Exception):
    """Runs of a stage have used up their attempts or are cancelled; later stages cannot be planned."""

    def __init__(self, run_ids: list[str]):
        super().__init__(f"{n_runs(len(run_ids))} left")
        self.run_ids = run_ids


def submit(request: Request) -> str:
    """Runs the study from here to its end and returns its last words; with n_workers=0 others do the work.

    Raises:
      RunsLeft, WorkersFailed, OSError: as `drive`. Interrupted: by Ctrl-C or SIGTERM.
    """
    parts = [] if request.n_workers == 0 else machine_slots(request.n_workers)
    if request.dry_run:
        cores = ", ".join(f"{slot.name} ({slot.gpu or slot.cores})" for slot in parts) or "no workers"
        return f"{n_runs(len(request.unfinished))} would be trained here by {cores}"
    store = request.store
    with exclusive_lock(store.root / "driver.lock"):
        whole = whole_machine() if parts else []
        return run_study(store, lambda: study_file.load(store), parts, whole, request.pack)


def run_study(
    store: Store, load: Callable[[], Any], parts: list[Slot], whole: list[Slot], pack: str = "auto"
) -> str:
    """Drives the study that `load` gives to its end with workers in these slots. The caller holds the lock.

    Raises:
      RunsLeft, WorkersFailed, OSError: as `drive`. Interrupted: by Ctrl-C or SIGTERM.
    """
    pool = Pool(store.folder, pack=pack, environment=plan_on_cpu())
    identity = json.dumps(process_identity(os.getpid()))
    kind = "workers" if parts else "controller"
    store.record_job({"backend": "local", "kind": kind, "id": identity, "slots": len(parts)})
    display = Display()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return drive(load, store, pool, display, parts, whole)
    except OSError as error:
        what = error.strerror or error
        raise OSError(f"{store.folder}: {what}; when that is mended, the same command continues") from error
    except KeyboardInterrupt:
        display.clear()
        print("stopping: the workers save their runs; run the same command to continue", flush=True)
        raise Interrupted from None
    finally:
        display.clear()
        pool.stop()


def drive(
    load: Callable[[], Any], store: Store, pool: Pool, display: Display, parts: list[Slot], whole: list[Slot]
) -> str:
    """Brings every run of every stage to its end, then the table and the results; returns the last words.

    Stages use the machine in `parts`, or the `whole` of it for one run at a time.

    Raises:
      RunsLeft: at the end of the first stage with failed or cancelled runs.
      WorkersFailed, OSError: as Pool.check.
    """
    known = store.states().values()
    if not known or any(state in UNFINISHED for state in known):
        pool.use(parts)  # workers begin, or load their libraries, while we load ours
    with uninterrupted():
        from launch.driver.stages import finish, stages, write_table

        study = load()
    n_stages, told = len(study.stages), set()
    for ahead in stages(study, store):
        for k, stage in enumerate(study.stages, 1):
            title = f"stage {k}/{n_stages} {stage.name}"
            if ahead.plans[stage.name] == [] and stage.name not in told:
                told.add(stage.name)
                display.say(f"{title}: no runs needed")
            if stage is ahead.stage:
                plan = ahead.plans[stage.name] or []
                states = store.states()
                n_left = sum(states[run.run_id] in UNFINISHED for run in plan)
                slots = whole if stage.whole_machine else sized(parts, n_left)
                pool.use(slots)
                began = time.monotonic()
                left = _wait(store, pool, display, plan, title, len(slots))
                write_table(store, ahead.stage_of)
                if left:
                    raise RunsLeft(left)
                display.say(f"{title}: {n_runs(len(plan))} done, {duration(time.monotonic() - began)}")
    pool.use([])
    return finish(study, store, ahead)


def _wait(
    store: Store, pool: Pool, display: Display, plan: list[PlannedRun], title: str, n_workers: int
) -> list[str]:
    """Watches until every run of the plan has ended; returns the ids of those that ended without a result."""
    told = set(store.results())
    while True:
        began = time.monotonic()
        seen = read_progress(store, n_workers)
        if not display.live:
            for run_id in seen.ended - told:
                run = store.plan.runs()[run_id]
                display.say(f"{title} · {finished_line(run, store.result(run_id))}")
        told |= seen.ended
        display.show(stage_lines(seen, plan[0].stage, title, display.columns, display.bar))
        if not any(seen.states[run.run_id] in UNFINISHED for run in plan):
            display.clear()
            return [run.run_id for run in plan if seen.states[run.run_id] in ("failed", "cancelled")]
        pool.check(len(seen.ended))
        time.sleep(max(POLL_SECONDS, (time.monotonic() - began) / POLL_SHARE))


def cancel(jobs: list[dict[str, Any]]) -> str:
    """Asks the processes that drive the study on this machine to stop."""
    drivers = [owner["pid"] for owner in _owners(jobs) if _is_here(owner)]
    for pid in drivers:
        os.kill(pid, signal.SIGTERM)
    return f"told process {', '.join(map(str, drivers))} to stop" if drivers else "no process here drives it"


def states(jobs: list[dict[str, Any]]) -> list[str]:
    """A line for each process that drives the study on this machine."""
    return [f"local: process {owner['pid']} drives the study" for owner in _owners(jobs) if _is_here(owner)]


def _owners(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(job["id"]) for job in jobs]


def _is_here(owner: dict[str, Any]) -> bool:
    """Whether the process is of this host and boot, and lives."""
    return owner["host"] == process_identity(os.getpid())["host"] and not known_dead(owner)
