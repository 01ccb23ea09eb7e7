"""How far a study is, as data."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from launch.monitor.speed import measured_rates, running_rates, seconds_left, worker_seconds
from launch.store import STATES, UNFINISHED, PlannedRun, Store
from launch.store.store import Snapshot

FAILURES_SHOWN = 20


@dataclass(frozen=True)
class Failure:
    """A run whose last attempt failed: the last line of its traceback, how often, and whether it is left."""

    run_id: str
    error: str
    attempts: int
    state: str


@dataclass(frozen=True)
class StudyProgress:
    """State of a study: runs by stage and state, what runs now, what failed, and the time it will take.

    states: {run id: state}. stages: {stage: {state: number of runs}}. running: (run, its progress file).
    failures: the first ones. seconds_left: of the runs planned so far, by measured speeds; None before any
    was measured. n_workers: that train now. worker_seconds: (done, left), likewise, all workers together.
    settings: those that tell the runs apart (launch/store/settings.py).
    """

    states: dict[str, str]
    stages: dict[str, dict[str, int]]
    running: list[tuple[PlannedRun, dict[str, Any]]]
    failures: list[Failure]
    seconds_left: float | None
    n_workers: int = 0
    worker_seconds: tuple[float, float] | None = None
    settings: tuple[str, ...] = ()

    def count(self, *states: str) -> int:
        """Runs of all stages in any of the states."""
        return sum(counts[state] for counts in self.stages.values() for state in states)

    @property
    def ended(self) -> set[str]:
        """Runs with a result."""
        return {run_id for run_id, state in self.states.items() if state in ("done", "diverged")}

    @property
    def tokens_per_second(self) -> float:
        """Speed of all running runs together."""
        return sum(progress.get("tokens_per_second", 0) for _, progress in self.running)


def read_progress(store: Store, n_workers: int = 0) -> StudyProgress:
    """Reads the store, as it is now; opens few files, however many runs there are. n_workers: that will share
    the rest of the work (0: as many as work now)."""
    snapshot = store.snapshot()
    planned = store.plan.runs()  # after the states: runs are only ever added
    stages = {run.stage: dict.fromkeys(STATES, 0) for run in planned.values()}
    by_state: dict[str, list[PlannedRun]] = {state: [] for state in STATES}
    for run_id, state in snapshot.states.items():
        run = planned[run_id]
        stages[run.stage][state] += 1
        by_state[state].append(run)
    running = [(run, store.progress(run.run_id)) for run in by_state["claimed"] + by_state["running"]]
    ended, waiting = by_state["done"] + by_state["diverged"], by_state["planned"]
    packed = Counter(snapshot.holders.values())
    rates = running_rates(running, {run_id: packed[name] for run_id, name in snapshot.holders.items()})
    rates |= measured_rates(store, ended)
    return StudyProgress(
        snapshot.states,
        stages,
        running,
        _failures(store, snapshot),
        seconds_left(waiting, running, rates, n_workers or len(packed)),
        len(packed),
        worker_seconds(ended, waiting, running, rates) if rates else None,
        store.plan.telling(),
    )


def _failures(store: Store, snapshot: Snapshot) -> list[Failure]:
    """The first runs with failed attempts; those that are left come first."""
    troubled = [
        run_id for run_id in snapshot.attempts if snapshot.states.get(run_id) in ("failed", *UNFINISHED)
    ]
    troubled.sort(key=lambda run_id: (snapshot.states[run_id] != "failed", run_id))
    return [
        Failure(run_id, store.error(run_id, n := snapshot.attempts[run_id]), n, snapshot.states[run_id])
        for run_id in troubled[:FAILURES_SHOWN]
    ]
