"""The state of a study's runs, kept as names in a folder: any number of processes share it without a server.

    store/study.jsonl     the planned runs, one a line; added to by the driver, never changed
    store/lease/ID.EPOCH  claim number EPOCH on run ID; its time stamp is the owner's heartbeat (0: released)
    store/done/ID         the run's result, whole; the first one counts; runs/ID/result.json is a link to it
    store/diverged/ID     marks the result as a divergence
    store/failed/ID.N     the error of attempt N
    store/progress/ID     how far a running run is; for display only

Every name is made by link(2), so of several claimants exactly one wins, on NFS too. A lease is never renamed
or removed: it is overtaken by the next epoch when its heartbeat is older than `ttl`, when it was released, or
when its owner is a process of this host that is gone. The overtaken owner sees the next epoch and must stop.
"""

import contextlib
import functools
import json
import os
import socket
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.files import sync_folder, write_atomic

STATES: tuple[str, ...] = ("planned", "running", "done", "diverged", "failed")


@dataclass(frozen=True)
class Planned:
    """A run to do. `config` is its RunConfig as JSON; runs of equal `shape` share a compiled step."""

    run_id: str
    stage: str
    shape: str
    n_params: int
    n_tokens: int
    flops: float
    config: dict[str, Any]


@dataclass(frozen=True)
class Lease:
    """The right to run `run_id` until the lease of the next epoch exists."""

    run_id: str
    epoch: int


@dataclass
class Store:
    """State of the study in `folder`; `ttl` is the age in seconds at which a heartbeat counts as stopped."""

    folder: Path
    ttl: float = 90.0
    max_attempts: int = 3
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

    def create(self) -> None:
        """Makes the folders; nothing happens where they exist."""
        for name in ("lease", "done", "diverged", "failed", "progress", "scratch"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    # ---- what is planned -------------------------------------------------------------------------------

    def planned(self) -> dict[str, Planned]:
        """Planned runs by id, in the order they were added; read again only when the file has changed."""
        try:
            status = self.manifest.stat()
        except FileNotFoundError:
            return {}
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if stamp != self._planned_stamp:
            runs = (Planned(**json.loads(line)) for line in self.manifest.read_text().splitlines())
            self._planned = {run.run_id: run for run in runs}
            self._planned_stamp = stamp
        return self._planned

    def add(self, runs: list[Planned]) -> list[Planned]:
        """Plans the runs that are not planned yet and returns those. One process at a time may call this."""
        known = self.planned()
        new = {run.run_id: run for run in runs if run.run_id not in known}
        if new:
            lines = [json.dumps(asdict(run)) + "\n" for run in (*known.values(), *new.values())]
            write_atomic(self.manifest, "".join(lines))
        return list(new.values())

    # ---- what has become of it -------------------------------------------------------------------------

    def states(self) -> dict[str, str]:
        """State (one of STATES) of every planned run, from file names alone and the stamps of open leases."""
        done, diverged = self._names("done"), self._names("diverged")
        attempts = _last_numbers(self._names("failed"))
        epochs = _last_numbers(self._names("lease"))

        def state(run_id: str) -> str:
            if run_id in done:
                return "diverged" if run_id in diverged else "done"
            if attempts.get(run_id, 0) >= self.max_attempts:
                return "failed"
            return "running" if self._is_held(run_id, epochs.get(run_id, 0)) else "planned"

        return {run_id: state(run_id) for run_id in self.planned()}

    def results(self) -> dict[str, dict[str, Any]]:
        """Results of finished runs by id, in planned order; mends links that a crash left out."""
        done = self._names("done")
        for run_id in done - self._results.keys():
            self._results[run_id] = json.loads((self.root / "done" / run_id).read_text())
            self._expose(run_id)
        return {run_id: self._results[run_id] for run_id in self.planned() if run_id in done}

    def errors(self) -> dict[str, str]:
        """The last error of every unfinished run that has one."""
        done = self._names("done")
        last = _last_numbers(self._names("failed"))
        return {
            run_id: json.loads((self.root / "failed" / f"{run_id}.{n}").read_text())["error"]
            for run_id, n in last.items()
            if run_id not in done
        }

    def progress(self, run_id: str) -> dict[str, Any]:
        """What the run's worker last said of it ({} before the first word)."""
        try:
            return json.loads((self.root / "progress" / run_id).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def forgive(self) -> None:
        """Forgets all errors, so that failed runs get their attempts again."""
        for name in self._names("failed"):
            (self.root / "failed" / name).unlink(missing_ok=True)

    # ---- claims ----------------------------------------------------------------------------------------

    def claim(self, run_id: str) -> Lease | None:
        """The lease on a run, or None if it is finished or someone else has it."""
        epoch = 0
        while self._lease_path(run_id, epoch + 1).exists():
            epoch += 1
        if self._is_held(run_id, epoch):
            return None
        if not self._publish(self._lease_path(run_id, epoch + 1), json.dumps(process_identity(os.getpid()))):
            return None
        lease = Lease(run_id, epoch + 1)
        if (self.root / "done" / run_id).exists():  # finished between our look and our claim
            self.release(lease)
            return None
        return lease

    def beat(self, lease: Lease) -> None:
        """Says that the owner lives."""
        os.utime(self._lease_path(lease.run_id, lease.epoch))

    def lost(self, lease: Lease) -> bool:
        """Whether somebody took the run over."""
        return self._lease_path(lease.run_id, lease.epoch + 1).exists()

    def release(self, lease: Lease) -> None:
        """Gives the run back. The heartbeat must have ended."""
        os.utime(self._lease_path(lease.run_id, lease.epoch), (0, 0))

    def finish(self, lease: Lease, result: dict[str, Any]) -> bool:
        """Records the result, durably; False if the lease was lost or a result is there already."""
        if self.lost(lease):
            return False
        if result["status"] == "diverged":  # the mark comes first: the result is what finishes the run
            self._publish(self.root / "diverged" / lease.run_id, "", durable=True)
        won = self._publish(
            self.root / "done" / lease.run_id, json.dumps(result, indent=1) + "\n", durable=True
        )
        self._expose(lease.run_id)
        (self.root / "progress" / lease.run_id).unlink(missing_ok=True)
        return won

    def fail(self, lease: Lease, error: str) -> None:
        """Records a failed attempt and gives the run back."""
        if self.lost(lease):
            return
        n = _last_numbers(self._names("failed")).get(lease.run_id, 0) + 1
        text = json.dumps({"error": error, "epoch": lease.epoch})
        self._publish(self.root / "failed" / f"{lease.run_id}.{n}", text, durable=True)
        self.release(lease)

    # ---- files -----------------------------------------------------------------------------------------

    def _lease_path(self, run_id: str, epoch: int) -> Path:
        return self.root / "lease" / f"{run_id}.{epoch}"

    def _names(self, folder: str) -> set[str]:
        try:
            return set(os.listdir(self.root / folder))
        except FileNotFoundError:  # a study that has not begun
            return set()

    def _is_held(self, run_id: str, epoch: int) -> bool:
        """Whether the lease of this epoch (0: none) is alive."""
        if epoch == 0:
            return False
        path = self._lease_path(run_id, epoch)
        stamp = path.stat().st_mtime
        if stamp == 0:
            return False
        # Exact age only where this host's clock says it matters: it costs a write. Hosts' clocks differ.
        if time.time() - stamp > self.ttl / 2 and self._now() - stamp > self.ttl:
            return False
        try:
            owner = json.loads(path.read_text())
        except json.JSONDecodeError:  # torn by a power cut; its heartbeat will tell
            return True
        return not known_dead(owner)

    def _now(self) -> float:
        """The file system's clock, which stamps the leases too; this host's where we may not write."""
        try:
            with tempfile.NamedTemporaryFile(dir=self.root / "scratch") as file:
                return os.stat(file.name).st_mtime
        except PermissionError:
            return time.time()

    def _publish(self, path: Path, text: str, durable: bool = False) -> bool:
        """Gives `text` the name `path`, whole; False if the name is taken. The answer of link(2) may get lost
        on NFS, so the count of links decides."""
        with tempfile.NamedTemporaryFile("w", dir=self.root / "scratch") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            if durable:
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)
            if durable:
                sync_folder(path.parent)
            return os.stat(file.name).st_nlink > 1

    def _expose(self, run_id: str) -> None:
        """Links the result to where readers of the study look for it."""
        target = self.run_folder(run_id) / "result.json"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # another process was as quick
                os.link(self.root / "done" / run_id, target)


def process_identity(pid: int) -> dict[str, Any]:
    """Names a process for ever: host, boot and pid namespace, pid, and the clock tick it started at."""
    return {"host": _host(), "pid": pid, "start": _start_tick(pid)}


def known_dead(owner: dict[str, Any]) -> bool:
    """True only if the process ran on this host, in this boot, and is certainly gone."""
    return owner["host"] == _host() != "" and _start_tick(owner["pid"]) != owner["start"]


@functools.cache
def _host() -> str:
    """Host name, boot id and pid namespace; "" where /proc does not tell (then only the heartbeat counts)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_tick(pid: int) -> int:
    """Clock tick at which the process started; 0 for none, for a zombie and where /proc does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text[text.rindex(")") + 2 :].split()  # the command's name before it may hold anything
    return 0 if fields[0] in "ZX" else int(fields[19])


def _last_numbers(names: set[str]) -> dict[str, int]:
    """{"a.1", "a.2", "b.1"} -> {"a": 2, "b": 1}."""
    last: dict[str, int] = {}
    for name in names:
        run_id, _, number = name.rpartition(".")
        last[run_id] = max(last.get(run_id, 0), int(number))
    return last
