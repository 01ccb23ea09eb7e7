"""Which runs a worker takes next, and which of them it trains together."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from launch.store.store import UNFINISHED, Lease, Look, Planned, Store

LOOK_SHARE = 0.05  # of its time a worker spends on looking at all runs
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Claimed:
    """A run and the right to run it."""

    run: Planned
    lease: Lease


@dataclass
class Queue:
    """The runs that a worker may claim, best first: those of its compiled shape, then those of a shape that
    nobody works on, the most expensive first.

    All runs are looked at again when that costs little of the time since the last look; a claim itself reads
    the names of one run only. pack_size(run): how many runs like this one train best as one program.
    newest_step(run folder): the step it would continue from.
    """

    store: Store
    pack_size: Callable[[Planned], int]
    newest_step: Callable[[Path], int]
    shape: str = ""
    _look: Look = field(default_factory=lambda: Look({}, {}, set(), {}))
    _free: list[Planned] = field(default_factory=list)  # the best one last
    _held: int = 0  # runs that wait for another one of their trunk
    _looked: float = float("-inf")
    _cost: float = 0.0  # seconds of a look

    def claim(self) -> list[Claimed]:
        """Claims a run, and with it those that train along with it; [] if none is free."""
        if fresh := time.monotonic() - self._looked > self._cost / LOOK_SHARE:
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
        return bool(self._held or self._look.resting)

    @property
    def pause(self) -> float:
        """Seconds until it is worth asking again."""
        return max(POLL_SECONDS, self._cost / LOOK_SHARE)

    @property
    def n_free(self) -> int:
        """Runs that could be claimed when all were last looked at, less those that we claimed."""
        return len(self._free)

    def _first(self) -> Claimed | None:
        while self._free:
            run = self._free.pop()
            if lease := self.store.claim(run.run_id):
                return Claimed(run, lease)
        return None

    def _partners(self, first: Claimed) -> list[Claimed]:
        """Runs to train together with the first: of equal pack, none of which has given trouble, and at the
        same step."""
        n = self.pack_size(first.run) - 1 if first.run.pack and not first.lease.deaths else 0
        if n <= 0 or self._look.attempts.get(first.run.run_id):
            return []
        step, partners = self.newest_step(self.store.run_folder(first.run.run_id)), []
        for run in reversed(self._free):
            if len(partners) == n:
                break
            if run.pack != first.run.pack or self._look.attempts.get(run.run_id):
                continue
            if self.newest_step(self.store.run_folder(run.run_id)) != step or self.store.deaths(run.run_id):
                continue
            if lease := self.store.claim(run.run_id):
                partners.append(Claimed(run, lease))
        taken = {partner.run.run_id for partner in partners}
        self._free = [run for run in self._free if run.run_id not in taken]
        return partners

    def _refresh(self) -> None:
        began = time.monotonic()
        self._look = look = self.store.look()
        planned = self.store.planned()  # after the states: runs are only ever added
        held = held_back(self.store, [planned[r] for r, state in look.states.items() if state in UNFINISHED])
        waiting = [run_id for run_id, state in look.states.items() if state == "planned"]
        self._held = len(held.intersection(waiting))
        held |= look.resting
        self._free = [planned[run_id] for run_id in reversed(waiting) if run_id not in held]
        self._sort()
        self._looked = time.monotonic()
        self._cost = self._looked - began

    def _sort(self) -> None:
        planned, states = self.store.planned(), self._look.states
        busy = {planned[run_id].shape for run_id, state in states.items() if state in ("claimed", "running")}
        self._free.sort(key=lambda run: (run.shape == self.shape, run.shape not in busy, run.flops))


def held_back(store: Store, unfinished: list[Planned]) -> set[str]:
    """Runs whose first steps another unfinished run of their trunk will take, and has not left yet."""
    trunks: dict[str, list[Planned]] = {}
    for run in unfinished:
        if run.trunk and run.branch_step:
            trunks.setdefault(run.trunk, []).append(run)
    held: set[str] = set()
    for trunk, runs in trunks.items():
        runs.sort(key=lambda run: (run.branch_step, run.run_id))
        for shorter, run in itertools.pairwise(runs):
            if not (store.trunks / trunk / str(shorter.branch_step)).exists():
                held.add(run.run_id)
    return held
