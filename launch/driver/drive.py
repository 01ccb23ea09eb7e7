"""Brings a study to its end from this process: stage after stage, with a pool of workers and live status."""

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from launch.monitor.display import Display
from launch.monitor.progress import read_progress
from launch.monitor.text import duration, finished_line, n_runs, stage_lines
from launch.store import UNFINISHED, PlannedRun, Store
from launch.store.leases import process_identity
from launch.workers.pool import WorkerPool, WorkerSlot, sized
from launch.workers.process import plan_on_cpu, uninterrupted

POLL_SECONDS = 0.2
POLL_SHARE = 0.1  # of its time the driver spends on reading the store, at most


class Interrupted(Exception):
    """Somebody asked the driver to stop; the workers have saved their runs."""


class RunsLeft(Exception):
    """Runs of a stage have used up their attempts or are cancelled; later stages cannot be planned."""

    def __init__(self, run_ids: list[str]):
        super().__init__(f"{n_runs(len(run_ids))} left")
        self.run_ids = run_ids


def run_study(
    store: Store,
    load: Callable[[], Any],
    parts: list[WorkerSlot],
    whole: list[WorkerSlot],
    pack: str = "auto",
) -> str:
    """Drives the study that `load` gives to its end with workers in these slots. The caller holds the lock.

    Args:
      store: the study's folder.
      load: returns the prepared study; called when the workers have been started.
      parts: a slot a worker; none if others do the work.
      whole: the machine as one slot, for stages that train one run on all of it.
      pack: how many runs train as one program, a number or "auto".

    Raises:
      RunsLeft, WorkersFailed, OSError: as `drive`. Interrupted: by Ctrl-C or SIGTERM.
    """
    pool = WorkerPool(store.folder, pack=pack, environment=plan_on_cpu())
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
    load: Callable[[], Any],
    store: Store,
    pool: WorkerPool,
    display: Display,
    parts: list[WorkerSlot],
    whole: list[WorkerSlot],
) -> str:
    """Brings every run of every stage to its end, then the table and the results; returns these in words.

    Stages use the machine in `parts`, or the `whole` of it for one run at a time.

    Args:
      load: returns the prepared study.
      store: its folder.
      pool: the workers.
      display: where progress is shown.
      parts: a slot a worker.
      whole: the machine as one slot.

    Raises:
      RunsLeft: at the end of the first stage with failed or cancelled runs.
      WorkersFailed, OSError: as WorkerPool.check.
    """
    known = store.states().values()
    if not known or any(state in UNFINISHED for state in known):
        pool.use(parts)  # workers begin, or load their libraries, while we load ours
    with uninterrupted():
        from launch.driver.runs_table import write_table
        from launch.driver.stages import finish, stages

        study = load()
    n_stages, announced = len(study.stages), set()
    for planned in stages(study, store):
        for k, stage in enumerate(study.stages, 1):
            title = f"stage {k}/{n_stages} {stage.name}"
            if planned.plans[stage.name] == [] and stage.name not in announced:
                announced.add(stage.name)
                display.say(f"{title}: no runs needed")
            if stage is planned.stage:
                plan = planned.plans[stage.name] or []
                states = store.states()
                n_left = sum(states[run.run_id] in UNFINISHED for run in plan)
                slots = whole if stage.whole_machine else sized(parts, n_left)
                pool.use(slots)
                began = time.monotonic()
                left = _wait(store, pool, display, plan, title, len(slots))
                write_table(store, planned.stage_of)
                if left:
                    raise RunsLeft(left)
                display.say(f"{title}: {n_runs(len(plan))} done, {duration(time.monotonic() - began)}")
    pool.use([])
    return finish(study, store, planned)


def _wait(
    store: Store, pool: WorkerPool, display: Display, plan: list[PlannedRun], title: str, n_workers: int
) -> list[str]:
    """Watches until every run of the plan has ended; returns the ids of those that ended without a result."""
    shown = set(store.results())
    while True:
        began = time.monotonic()
        seen = read_progress(store, n_workers)
        if not seen.states.keys() >= {run.run_id for run in plan}:
            raise OSError("it was moved or removed while it was in use: put it back, or name its new place")
        if not display.live:
            for run_id in seen.ended - shown:
                run = store.plan.runs()[run_id]
                display.say(f"{title} · {finished_line(run, store.result(run_id), seen.settings)}")
        shown |= seen.ended
        display.show(stage_lines(seen, plan[0].stage, title, display.columns, display.bar))
        if not any(seen.states[run.run_id] in UNFINISHED for run in plan):
            display.clear()
            return [run.run_id for run in plan if seen.states[run.run_id] in ("failed", "cancelled")]
        pool.check(len(seen.ended))
        time.sleep(max(POLL_SECONDS, (time.monotonic() - began) / POLL_SHARE))
