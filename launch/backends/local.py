"""Studies on this machine: a process that drives the study with a pool of workers."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from launch.backends.interface import JobLog, Submission
from launch.driver.drive import run_study
from launch.monitor.text import n_runs
from launch.store import Store, study_file
from launch.store.leases import known_dead, process_identity
from launch.store.lock import exclusive_lock
from launch.workers.pool import machine_slots, whole_machine


def submit(submission: Submission) -> str:
    """Runs the study from here to its end and returns its results in words; with n_workers=0 others train.

    Raises:
      RunsLeft, WorkersFailed, OSError: as `drive`. Interrupted: by Ctrl-C or SIGTERM.
    """
    parts = [] if submission.n_workers == 0 else machine_slots(submission.n_workers)
    if submission.dry_run:
        cores = ", ".join(f"{slot.name} ({slot.gpu or slot.cores})" for slot in parts) or "no workers"
        return f"{n_runs(len(submission.unfinished))} would be trained here by {cores}"
    store = submission.store
    with exclusive_lock(store.root / "driver.lock"):
        whole = whole_machine() if parts else []
        return run_study(store, lambda: study_file.prepared(store), parts, whole, submission.pack)


def cancel(jobs: list[dict[str, Any]]) -> str:
    """Asks the processes that drive the study on this machine to stop."""
    drivers = [owner["pid"] for owner in _owners(jobs) if _is_here(owner)]
    for pid in drivers:
        os.kill(pid, signal.SIGTERM)
    return f"asked process {', '.join(map(str, drivers))} to stop" if drivers else "no process here drives it"


def states(jobs: list[dict[str, Any]]) -> list[str]:
    """A line for each process that drives the study on this machine."""
    return [f"local: process {owner['pid']} drives the study" for owner in _owners(jobs) if _is_here(owner)]


def logs(store: Store) -> list[Path]:
    """What the workers of this machine have printed outside of any run."""
    return list(store.root.glob("worker-*.log"))


def log_of_process(store: Store, owner: dict[str, Any]) -> JobLog | None:
    """None: the log of a run itself says all that its worker knew."""
    return None


def _owners(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(job["id"]) for job in jobs]


def _is_here(owner: dict[str, Any]) -> bool:
    """Whether the process is of this host and boot, and lives."""
    return owner["host"] == process_identity(os.getpid())["host"] and not known_dead(owner)
