"""The state of a study's runs, kept as names in a folder: any number of processes share it without a server.

    store/study.jsonl     the planned runs, one a line; added to by whoever plans, never changed
    store/waiting.json    stages that cannot be planned before these runs are done
    store/jobs.jsonl      what was handed to which scheduler, one line a job
    store/lease/ID.EPOCH  claim number EPOCH on run ID (see leases.py)
    store/done/ID         the run's result, whole; the first one counts; runs/ID/result.json is a link to it
    store/diverged/ID     marks the result as a divergence
    store/failed/ID.N     the error of attempt N
    store/cancelled/ID    marks a run that nobody shall train, because a person said so
    store/dropped/ID      marks a run that the study's definition no longer holds
    store/progress/ID     how far a running run is; for display only

A run that went well leaves two files here, one lease and its result, of which nothing is ever rewritten; in
runs/ID config.json, metrics.jsonl, log.txt and a second name of the result; and its newest checkpoints, some
30 files each, which `isoflop gc` thins out.
A run whose attempt N failed backs off for `backoff`·2^N seconds before it can be claimed again, and is left
as failed after `max_attempts`.
"""

import contextlib
import json
import os
import re
import shlex
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.files import read_json
from launch.store.leases import Lease, Leases, publish
from launch.store.plan import Plan, names_in

NUMBERED = re.compile(r"[^.].*\.[1-9][0-9]*")  # ID.N of leases and failures
FOLDERS = ("lease", "done", "diverged", "failed", "cancelled", "dropped", "progress", "scratch")


@dataclass(frozen=True)
class Snapshot:
    """All runs at one moment.

    states: state (one of STATES) by run id. attempts: failed attempts by run id, where there are any.
    backing_off: runs whose last failure is too fresh to try again. holders: the process that holds a run, by
    run id.
    """

    states: dict[str, str]
    attempts: dict[str, int]
    backing_off: set[str]
    holders: dict[str, str]


@dataclass
class Store:
    """State of the study in `folder`; `ttl` is the age in seconds at which a heartbeat counts as stopped."""

    folder: Path
    ttl: float = 90.0
    max_attempts: int = 3
    backoff: float = 2.0
    plan: Plan = field(init=False)
    _results: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    _seen: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False)  # as Leases has it

    def __post_init__(self):
        self.plan = Plan(self.root)

    @property
    def root(self) -> Path:
        return self.folder / "store"

    @property
    def finished(self) -> Path:
        """The results of the study in words; there when all is done."""
        return self.root / "finished.txt"

    @property
    def argument(self) -> str:
        """The folder as one writes it on a command line."""
        quoted = shlex.quote(str(self.folder))
        return f"./{quoted}" if quoted.startswith("-") else quoted

    def run_folder(self, run_id: str) -> Path:
        return self.folder / "runs" / run_id

    @property
    def shared_prefixes(self) -> Path:
        """Where runs that share their first steps leave the states after them to each other."""
        return self.folder / "trunks"

    def create(self) -> None:
        """Makes the folders; nothing happens where they exist."""
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)

    # ---- what a person asks for ------------------------------------------------------------------------

    def cancel(self, run_ids: Iterable[str]) -> None:
        """Marks runs that nobody shall train; who trains one now leaves it. Finished ones stay finished."""
        for run_id in run_ids:
            (self.root / "cancelled" / run_id).touch()

    def retry(self, run_ids: Collection[str]) -> None:
        """Takes the mark of cancellation from these runs and gives them all their attempts again."""
        for run_id in names_in(self.root / "cancelled").intersection(run_ids):
            (self.root / "cancelled" / run_id).unlink(missing_ok=True)
        for name in sorted(
            names_in(self.root / "failed"), reverse=True
        ):  # no gap if we are killed on the way
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
        """Recorded jobs, oldest first; a line that a crash cut off, or that is no job, is left out."""
        jobs = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.root / "jobs.jsonl").read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError, RecursionError):
                    jobs.append(json.loads(line))
        return [job for job in jobs if isinstance(job, dict) and {"backend", "id", "kind"} <= job.keys()]

    # ---- what has become of it -------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """All runs as they are now, from file names alone and the stamps of open leases."""
        done, diverged, dropped = (
            names_in(self.root / "done"),
            names_in(self.root / "diverged"),
            names_in(self.root / "dropped"),
        )
        cancelled, reported = names_in(self.root / "cancelled"), names_in(self.root / "progress")
        attempts = _last_numbers(names_in(self.root / "failed"))
        epochs, leases = _last_numbers(names_in(self.root / "lease")), self._leases
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
            return "running" if run_id in reported else "claimed"

        states = {run_id: state(run_id) for run_id in self.plan.runs()}
        backing_off = {
            run_id
            for run_id, n in attempts.items()
            if states.get(run_id) == "planned" and self._backs_off(run_id, n)
        }
        return Snapshot(states, attempts, backing_off, holders)

    def strays(self) -> list[Path]:
        """Files among leases and failures that no worker made: an editor's, a file system's. Left alone."""
        folders = (self.root / name for name in ("lease", "failed"))
        return sorted(f / name for f in folders for name in names_in(f) if not NUMBERED.fullmatch(name))

    def states(self) -> dict[str, str]:
        """State (one of STATES) of every planned run."""
        return self.snapshot().states

    def results(self) -> dict[str, dict[str, Any]]:
        """Results of finished runs by id, in planned order; mends links that a crash left out."""
        done = names_in(self.root / "done")
        return {run_id: self.result(run_id) for run_id in self.plan.runs() if run_id in done}

    def result(self, run_id: str) -> dict[str, Any]:
        """The result of a finished run."""
        if run_id not in self._results:
            self._results[run_id] = read_json(self.root / "done" / run_id)
            self._expose(run_id)
        return self._results[run_id]

    def error(self, run_id: str, attempt: int) -> str:
        """The last line of the traceback of a failed attempt; "" if it is forgotten by now."""
        try:
            return read_json(self.root / "failed" / f"{run_id}.{attempt}").get("error", "")
        except FileNotFoundError:
            return ""

    def progress(self, run_id: str) -> dict[str, Any]:
        """What the run's worker last reported ({} before the first report)."""
        try:
            return json.loads((self.root / "progress" / run_id).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    # ---- claims ----------------------------------------------------------------------------------------

    def claim(self, run_id: str, step: int = 0) -> Lease | None:
        """The lease on a run that would go on from `step`, or None if it has ended, backs off, is not wanted
        or someone else has it."""
        if self._is_closed(run_id):
            return None
        lease = self._leases.claim(run_id, self._count("lease", run_id), step)
        if lease is None:
            return None
        if (self.root / "done" / run_id).exists():  # finished between our snapshot and our claim
            self.release(lease)
            return None
        (self.root / "progress" / run_id).unlink(missing_ok=True)
        return lease

    def deaths(self, run_id: str, step: int) -> int:
        """How many owners in a row, up to now, were gone without releasing the run, and left it at `step`."""
        return self._leases.deaths(run_id, self._count("lease", run_id), step)

    def heartbeat(self, lease: Lease) -> None:
        """Says that the owner lives."""
        self._leases.heartbeat(lease)

    def lost(self, lease: Lease) -> bool:
        """Whether somebody took the run over."""
        return self._leases.lost(lease)

    def release(self, lease: Lease) -> None:
        """Makes the run free for others. The heartbeat must have ended."""
        self._leases.release(lease)

    def unwanted(self, run_id: str) -> bool:
        """Whether nobody shall train the run any more."""
        return (self.root / "cancelled" / run_id).exists() or (self.root / "dropped" / run_id).exists()

    def report_progress(self, lease: Lease, progress: dict[str, Any]) -> None:
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
        """Records a failed attempt and releases the run; returns the number of the attempt (0: lost)."""
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
        return Leases(self.root / "lease", self.root / "scratch", self.ttl, self._seen)

    def _publish(self, folder: str, name: str, text: str) -> bool:
        return publish(self.root / "scratch", self.root / folder / name, text, durable=True)

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
        return n >= self.max_attempts or self._backs_off(run_id, n)

    def _backs_off(self, run_id: str, n_failed: int) -> bool:
        """Whether the last failure is too fresh to try again."""
        if n_failed == 0:
            return False
        with contextlib.suppress(FileNotFoundError):  # forgotten just now
            stamp = (self.root / "failed" / f"{run_id}.{n_failed}").stat().st_mtime
            # One stamped in the future, by a clock that was set back, would hold the run for ever.
            return 0 <= time.time() - stamp < self.backoff * 2**n_failed
        return False

    def _expose(self, run_id: str) -> None:
        """Links the result to where readers of the study look for it."""
        target = self.run_folder(run_id) / "result.json"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # another process was as quick
                os.link(self.root / "done" / run_id, target)


def _last_numbers(names: set[str]) -> dict[str, int]:
    """{"a.1", "a.2", "b.1"} -> {"a": 2, "b": 1}; names that are not ours, such as ".nfs01", say nothing."""
    last: dict[str, int] = {}
    for name in names:
        if NUMBERED.fullmatch(name):
            run_id, _, number = name.rpartition(".")
            last[run_id] = max(last.get(run_id, 0), int(number))
    return last
