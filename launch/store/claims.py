"""Which runs a worker takes next, and which of them it trains together."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from launch.store.leases import Lease
from launch.store.planned_run import UNFINISHED, PlannedRun
from launch.store.store import Snapshot, Store

SNAPSHOT_SHARE = 0.05  # of its time a worker spends on the state of all runs
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Claimed:
    """A run and the right to run it."""

    run: PlannedRun
    lease: Lease


@dataclass
class ClaimQueue:
    """The runs that a worker may claim, best first: those of its compiled shape, then those of a shape that
    nobody works on, the most expensive first.

    The state of all runs is read again when that costs little of the time since it was last read; a claim
    itself reads the names of one run only.

    pack_size(run): how many runs like this one train best as one program. newest_step(run folder): the step
    it would continue from.
    """

    store: Store
    pack_size: Callable[[PlannedRun], int]
    newest_step: Callable[[Path], int]
    shape: str = ""
    _snapshot: Snapshot = field(default_factory=lambda: Snapshot({}, {}, set(), {}))
    _free: list[PlannedRun] = field(default_factory=list)  # the best one last
    _held: int = 0  # runs that wait for another one of their shared prefix
    _taken: float = float("-inf")
    _cost: float = 0.0  # seconds that a snapshot takes

    def claim(self) -> list[Claimed]:
        """Claims a run, and with it those that train along with it; [] if none is free."""
        if fresh := time.monotonic() - self._taken > self._cost / SNAPSHOT_SHARE:
            self._refresh()
        first = self._first()
        if not first and not fresh:
            self._refresh()  # what we knew is used up
            first = self._first()
        if not first:
            return []
        if first.run.shape != self.shape:
            self.shape = first.run.shape
            self._sort()
        return [first, *self._partners(first)]

    @property
    def more_to_come(self) -> bool:
        """Whether runs are left that will be free without anyone's doing, or soon."""
        return bool(self._held or self._snapshot.backing_off)

    @property
    def pause(self) -> float:
        """Seconds until it is worth asking again."""
        return max(POLL_SECONDS, self._cost / SNAPSHOT_SHARE)

    @property
    def n_free(self) -> int:
        """Runs that could be claimed when the state of all was last read, less those that we claimed."""
        return len(self._free)

    def _first(self) -> Claimed | None:
        while self._free:
            run = self._free.pop()
            if lease := self.store.claim(run.run_id, self._step(run)):
                return Claimed(run, lease)
        return None

    def _step(self, run: PlannedRun) -> int:
        return self.newest_step(self.store.run_folder(run.run_id))

    def _partners(self, first: Claimed) -> list[Claimed]:
        """Runs to train together with the first: of equal pack, none of which has failed before, and at the
        same step."""
        n = self.pack_size(first.run) - 1 if first.run.pack and not first.lease.deaths else 0
        if n <= 0 or self._snapshot.attempts.get(first.run.run_id):
            return []
        step, partners = self._step(first.run), []
        for run in reversed(self._free):
            if len(partners) == n:
                break
            if run.pack != first.run.pack or self._snapshot.attempts.get(run.run_id):
                continue
            if self._step(run) != step or self.store.deaths(run.run_id, step):
                continue
            if lease := self.store.claim(run.run_id, step):
                partners.append(Claimed(run, lease))
        taken = {partner.run.run_id for partner in partners}
        self._free = [run for run in self._free if run.run_id not in taken]
        return partners

    def _refresh(self) -> None:
        began = time.monotonic()
        self._snapshot = snapshot = self.store.snapshot()
        planned = self.store.plan.runs()  # after the states: runs are only ever added
        held = held_back(
            self.store, [planned[r] for r, state in snapshot.states.items() if state in UNFINISHED]
        )
        waiting = [run_id for run_id, state in snapshot.states.items() if state == "planned"]
        self._held = len(held.intersection(waiting))
        held |= snapshot.backing_off
        self._free = [planned[run_id] for run_id in reversed(waiting) if run_id not in held]
        self._sort()
        self._taken = time.monotonic()
        self._cost = self._taken - began

    def _sort(self) -> None:
        planned, states = self.store.plan.runs(), self._snapshot.states
        busy = {planned[run_id].shape for run_id, state in states.items() if state in ("claimed", "running")}
        self._free.sort(key=lambda run: (run.shape == self.shape, run.shape not in busy, run.flops))


def held_back(store: Store, unfinished: list[PlannedRun]) -> set[str]:
    """Runs whose first steps another unfinished run of their shared prefix will take and has not saved."""
    sharing: dict[str, list[PlannedRun]] = {}
    for run in unfinished:
        if run.trunk and run.branch_step:
            sharing.setdefault(run.trunk, []).append(run)
    held: set[str] = set()
    for prefix, runs in sharing.items():
        runs.sort(key=lambda run: (run.branch_step, run.run_id))
        for shorter, run in itertools.pairwise(runs):
            if not (store.shared_prefixes / prefix / str(shorter.branch_step)).exists():
                held.add(run.run_id)
    return held
