"""The state of a study's runs, kept as names in a folder: any number of processes share it without a server.

    store/study.jsonl     the planned runs, one a line; added to by whoever plans, never changed
    store/waiting.json    stages that cannot be planned before these runs are done
    store/jobs.jsonl      what was handed to which scheduler, one line a job
    store/lease/ID.EPOCH  claim number EPOCH on run ID (see leases.py)
    store/done/ID         the run's result, whole; the first one counts; runs/ID/result.json is a link to it
    store/diverged/ID     marks the result as a divergence
    store/failed/ID.N     the error of attempt N
    store/cancelled/ID    marks a run that nobody shall train, by a person's wish
    store/dropped/ID      marks a run that the study's definition no longer holds
    store/progress/ID     how far a running run is; for display only

A run that went well leaves two files here, one lease and its result, of which nothing is ever rewritten; in
runs/ID config.json, metrics.jsonl, log.txt and a second name of the result; and its newest checkpoints, some
30 files each, which `isoflop gc` thins out.
A run whose attempt N failed rests for `backoff`·2^N seconds before it can be claimed again, and is left as
failed after `max_attempts`.
"""

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.files import write_atomic
from launch.store.leases import Lease, Leases, publish

STATES: tuple[str, ...] = ("planned", "claimed", "running", "done", "diverged", "failed", "cancelled")
UNFINISHED = ("planned", "claimed", "running")
FOLDERS = ("lease", "done", "diverged", "failed", "cancelled", "dropped", "progress", "scratch")


@dataclass(frozen=True)
class Planned:
    """A run to do. `config` is its RunConfig as JSON; runs of equal `shape` share a compiled step.

    pack: runs of equal `pack` may train together as one program ("": none may). trunk: runs of equal `trunk`
    take the same steps until the `branch_step` of the shorter one ("": shares nothing).
    """

    run_id: str
    stage: str
    shape: str
    n_params: int
    n_tokens: int
    flops: float
    config: dict[str, Any]
    pack: str = ""
    trunk: str = ""
    branch_step: int = 0
    n_steps: int = 0


@dataclass(frozen=True)
class Look:
    """All runs at one moment: state (one of STATES) and failed attempts by id; those that rest after one; the
    processes that hold runs."""

    states: dict[str, str]
    attempts: dict[str, int]
    resting: set[str]
    holders: dict[str, str]


@dataclass
class Store:
    """State of the study in `folder`; `ttl` is the age in seconds at which a heartbeat counts as stopped."""

    folder: Path
    ttl: float = 90.0
    max_attempts: int = 3
    backoff: float = 2.0
    _planned: dict[str, Planned] = field(default_factory=dict, repr=False)
    _planned_stamp: tuple[int, ...] = field(default=(), repr=False)
    _results: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def root(self) -> Path:
        return self.folder / "store"

    @property
    def manifest(self) -> Path:
        return self.root / "study.jsonl"

    @property
    def finished(self) -> Path:
        """The final words of the study; there when all is done."""
        return self.root / "finished.txt"

    def run_folder(self, run_id: str) -> Path:
        return self.folder / "runs" / run_id

    @property
    def trunks(self) -> Path:
        """Where runs that share their first steps leave them to each other."""
        return self.folder / "trunks"

    def create(self) -> None:
        """Makes the folders; nothing happens where they exist."""
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)

    # ---- what is planned -------------------------------------------------------------------------------

    def planned(self) -> dict[str, Planned]:
        """Planned runs by id, in the order they were added; read again only when the file has changed."""
        try:
            status = self.manifest.stat()
        except FileNotFoundError:
            return {}
        if (stamp := _stamp(status)) != self._planned_stamp:
            runs = (Planned(**json.loads(line)) for line in self.manifest.read_text().splitlines())
            self._planned, self._planned_stamp = {run.run_id: run for run in runs}, stamp
        return self._planned

    def add(self, runs: list[Planned]) -> list[Planned]:
        """Plans the runs that are not planned yet and returns those. One process at a time may call this."""
        known = self.planned()
        new = {run.run_id: run for run in runs if run.run_id not in known}
        if new:
            lines = [json.dumps(vars(run)) + "\n" for run in (*known.values(), *new.values())]
            write_atomic(self.manifest, "".join(lines))
            self._planned, self._planned_stamp = known | new, _stamp(self.manifest.stat())
        return list(new.values())

    def keep_only(self, run_ids: Collection[str]) -> list[str]:
        """Marks all other planned runs as dropped, takes the mark from these; returns the newly dropped."""
        dropped = self._names("dropped")
        for run_id in dropped.intersection(run_ids):
            (self.root / "dropped" / run_id).unlink(missing_ok=True)
        new = [run_id for run_id in self.planned() if run_id not in run_ids and run_id not in dropped]
        for run_id in new:
            (self.root / "dropped" / run_id).touch()
        return new

    def dropped(self) -> set[str]:
        """Runs that the study's definition no longer holds; their state is cancelled."""
        return self._names("dropped")

    def waiting(self) -> list[str]:
        """Stages that wait for the runs that are planned now."""
        try:
            return json.loads((self.root / "waiting.json").read_text())
        except FileNotFoundError:
            return []

    def note_waiting(self, stages: list[str]) -> None:
        if stages != self.waiting():
            write_atomic(self.root / "waiting.json", json.dumps(stages))

    def cancel(self, run_ids: Iterable[str]) -> None:
        """Marks runs that nobody shall train; who trains one now leaves it. Finished ones stay finished."""
        for run_id in run_ids:
            (self.root / "cancelled" / run_id).touch()

    def retry(self, run_ids: Collection[str]) -> None:
        """Takes the mark of cancellation from these runs and gives them all their attempts again."""
        for run_id in self._names("cancelled").intersection(run_ids):
            (self.root / "cancelled" / run_id).unlink(missing_ok=True)
        for name in sorted(self._names("failed"), reverse=True):  # no gap if we are killed on the way
            if name.rpartition(".")[0] in run_ids:
                (self.root / "failed" / name).unlink(missing_ok=True)

    # ---- what was submitted where ----------------------------------------------------------------------

    def record_job(self, job: dict[str, Any]) -> None:
        """Notes a job handed to a backend: {"backend", "id", "kind": "workers" or "controller", "slots"}."""
        with open(self.root / "jobs.jsonl", "a") as file:
            file.write("\n" + json.dumps({"time": time.time(), **job}) + "\n")  # a torn line stays alone
            file.flush()
            os.fsync(file.fileno())

    def jobs(self) -> list[dict[str, Any]]:
        """Recorded jobs, oldest first; a line that a crash cut off is left out."""
        jobs = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.root / "jobs.jsonl").read_text().splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    jobs.append(json.loads(line))
        return jobs

    # ---- what has become of it -------------------------------------------------------------------------

    def look(self) -> Look:
        """All runs as they are now, from file names alone and the stamps of open leases."""
        done, diverged, dropped = self._names("done"), self._names("diverged"), self._names("dropped")
        cancelled, spoken = self._names("cancelled"), self._names("progress")
        attempts = _last_numbers(self._names("failed"))
        epochs, leases = _last_numbers(self._names("lease")), self._leases
        holders: dict[str, str] = {}

        def state(run_id: str) -> str:
            if run_id in dropped:
                return "cancelled"
            if run_id in done:
                return "diverged" if run_id in diverged else "done"
            if run_id in cancelled:
                return "cancelled"
            if attempts.get(run_id, 0) >= self.max_attempts:
                return "failed"
            holder = leases.holder(run_id, epochs.get(run_id, 0))
            if holder is None:
                return "planned"
            holders[run_id] = holder
            return "running" if run_id in spoken else "claimed"

        states = {run_id: state(run_id) for run_id in self.planned()}
        resting = {
            run_id
            for run_id, n in attempts.items()
            if states.get(run_id) == "planned" and self._rests(run_id, n)
        }
        return Look(states, attempts, resting, holders)

    def states(self) -> dict[str, str]:
        """State (one of STATES) of every planned run."""
        return self.look().states

    def results(self) -> dict[str, dict[str, Any]]:
        """Results of finished runs by id, in planned order; mends links that a crash left out."""
        done = self._names("done")
        return {run_id: self.result(run_id) for run_id in self.planned() if run_id in done}

    def result(self, run_id: str) -> dict[str, Any]:
        """The result of a finished run."""
        if run_id not in self._results:
            self._results[run_id] = json.loads((self.root / "done" / run_id).read_text())
            self._expose(run_id)
        return self._results[run_id]

    def error(self, run_id: str, attempt: int) -> str:
        """The last line of the traceback of a failed attempt; "" if it is forgotten by now."""
        try:
            return json.loads((self.root / "failed" / f"{run_id}.{attempt}").read_text())["error"]
        except FileNotFoundError:
            return ""

    def progress(self, run_id: str) -> dict[str, Any]:
        """What the run's worker last said of it ({} before the first word)."""
        try:
            return json.loads((self.root / "progress" / run_id).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    # ---- claims ----------------------------------------------------------------------------------------

    def claim(self, run_id: str) -> Lease | None:
        """The lease on a run, or None if it is ended, rests, is not wanted or someone else has it."""
        if self._is_closed(run_id):
            return None
        lease = self._leases.claim(run_id, self._count("lease", run_id))
        if lease is None:
            return None
        if (self.root / "done" / run_id).exists():  # finished between our look and our claim
            self.release(lease)
            return None
        (self.root / "progress" / run_id).unlink(missing_ok=True)
        return lease

    def deaths(self, run_id: str) -> int:
        """How many owners in a row, up to now, were gone without giving the run back."""
        return self._leases.deaths(run_id, self._count("lease", run_id))

    def beat(self, lease: Lease) -> None:
        """Says that the owner lives."""
        self._leases.beat(lease)

    def lost(self, lease: Lease) -> bool:
        """Whether somebody took the run over."""
        return self._leases.lost(lease)

    def release(self, lease: Lease) -> None:
        """Gives the run back. The heartbeat must have ended."""
        self._leases.release(lease)

    def unwanted(self, run_id: str) -> bool:
        """Whether nobody shall train the run any more."""
        return (self.root / "cancelled" / run_id).exists() or (self.root / "dropped" / run_id).exists()

    def tell(self, lease: Lease, progress: dict[str, Any]) -> None:
        """Shows how far the run is."""
        scratch = self.root / "scratch" / f"{lease.run_id}.{lease.epoch}"
        scratch.write_text(json.dumps(progress))
        scratch.replace(self.root / "progress" / lease.run_id)

    def finish(self, lease: Lease, result: dict[str, Any]) -> bool:
        """Records the result, durably; False if the lease was lost or a result is there already."""
        if self.lost(lease):
            return False
        if result["status"] == "diverged":  # the mark comes first: the result is what finishes the run
            self._publish("diverged", lease.run_id, "")
        won = self._publish("done", lease.run_id, json.dumps(result, indent=1) + "\n")
        self._expose(lease.run_id)
        (self.root / "progress" / lease.run_id).unlink(missing_ok=True)
        return won

    def fail(self, lease: Lease, error: str) -> int:
        """Records a failed attempt and gives the run back; returns the number of the attempt (0: lost)."""
        if self.lost(lease):
            return 0
        n = self._count("failed", lease.run_id) + 1
        text = json.dumps({"error": error, "epoch": lease.epoch})
        self._publish("failed", f"{lease.run_id}.{n}", text)
        self.release(lease)
        return n

    # ---- files -----------------------------------------------------------------------------------------

    @property
    def _leases(self) -> Leases:
        return Leases(self.root / "lease", self.root / "scratch", self.ttl)

    def _publish(self, folder: str, name: str, text: str) -> bool:
        return publish(self.root / "scratch", self.root / folder / name, text, durable=True)

    def _names(self, folder: str) -> set[str]:
        try:
            return set(os.listdir(self.root / folder))
        except FileNotFoundError:  # a study that has not begun
            return set()

    def _count(self, folder: str, run_id: str) -> int:
        """The last N for which ID.N is in the folder; 0 for none."""
        n = 0
        while (self.root / folder / f"{run_id}.{n + 1}").exists():
            n += 1
        return n

    def _is_closed(self, run_id: str) -> bool:
        """Whether the run is not to be claimed now, whoever has it."""
        if (self.root / "done" / run_id).exists() or self.unwanted(run_id):
            return True
        n = self._count("failed", run_id)
        return n >= self.max_attempts or self._rests(run_id, n)

    def _rests(self, run_id: str, n_failed: int) -> bool:
        """Whether the last failure is too fresh to try again."""
        if n_failed == 0:
            return False
        with contextlib.suppress(FileNotFoundError):  # forgotten just now
            stamp = (self.root / "failed" / f"{run_id}.{n_failed}").stat().st_mtime
            return time.time() - stamp < self.backoff * 2**n_failed
        return False

    def _expose(self, run_id: str) -> None:
        """Links the result to where readers of the study look for it."""
        target = self.run_folder(run_id) / "result.json"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # another process was as quick
                os.link(self.root / "done" / run_id, target)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """Differs for every content that a file, replaced as a whole, had."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def _last_numbers(names: set[str]) -> dict[str, int]:
    """{"a.1", "a.2", "b.1"} -> {"a": 2, "b": 1}."""
    last: dict[str, int] = {}
    for name in names:
        run_id, _, number = name.rpartition(".")
        last[run_id] = max(last.get(run_id, 0), int(number))
    return last
