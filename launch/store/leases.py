"""Claims on runs, as names in a folder: LEASE/ID.EPOCH is claim number EPOCH on run ID.

A name's time stamp is its owner's heartbeat (0: released). Names are made by link(2), so of several claimants
exactly one wins, on NFS too. A lease is never renamed or removed: it is overtaken by the next epoch when its
heartbeat is older than `ttl` (one in the future: has not changed for as long), when it was released, or when
its owner is a process of this host that is gone.
The overtaken owner sees the next epoch and must stop.
"""

import contextlib
import functools
import json
import os
import socket
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.files import sync_folder


@dataclass(frozen=True)
class Lease:
    """The right to run `run_id` until the lease of the next epoch exists.

    deaths: how many owners in a row before this one were gone without releasing it and without progress.
    """

    run_id: str
    epoch: int
    deaths: int = 0


@dataclass(frozen=True)
class Leases:
    """The leases in `folder`; `scratch` is a folder beside it, for files that have no name yet. `seen` has of
    leases stamped in the future their stamp and when, by this process's own clock, it was first seen."""

    folder: Path
    scratch: Path
    ttl: float
    seen: dict[str, tuple[float, float]] = field(default_factory=dict)

    def claim(self, run_id: str, epoch: int, step: int = 0) -> Lease | None:
        """The lease after that of `epoch`, the last one; None if that is held or somebody was quicker. `step`
        is where the run would go on from."""
        if self.is_held(run_id, epoch):
            return None
        owner = json.dumps(process_identity(os.getpid()) | {"step": step})
        if not publish(self.scratch, self._path(run_id, epoch + 1), owner):
            return None
        return Lease(run_id, epoch + 1, self.deaths(run_id, epoch, step))

    def heartbeat(self, lease: Lease) -> None:
        """Says that the owner lives."""
        os.utime(self._path(lease.run_id, lease.epoch))

    def lost(self, lease: Lease) -> bool:
        """Whether somebody took the run over."""
        return self._path(lease.run_id, lease.epoch + 1).exists()

    def release(self, lease: Lease) -> None:
        """Makes the run free for others. The heartbeat must have ended."""
        os.utime(self._path(lease.run_id, lease.epoch), (0, 0))

    def is_held(self, run_id: str, epoch: int) -> bool:
        """Whether the lease of this epoch (0: none) is alive."""
        return self.holder(run_id, epoch) is not None

    def holder(self, run_id: str, epoch: int) -> str | None:
        """The process that holds the lease of this epoch (0: none); None if nobody does, "" if unknown."""
        if epoch == 0:
            return None
        stamp = self._path(run_id, epoch).stat().st_mtime
        if stamp == 0:
            return None
        # Exact age only where this host's clock says it matters: it costs a write. Hosts' clocks differ.
        age = time.time() - stamp
        if (age > self.ttl / 2 and self._now() - stamp > self.ttl) or (
            age < -self.ttl / 2 and self._unchanged(f"{run_id}.{epoch}", stamp) > self.ttl
        ):
            return None
        owner = self._owner(run_id, epoch)
        if not owner:  # its heartbeat will tell
            return ""
        return None if known_dead(owner) else f"{owner['host']} {owner['pid']} {owner['start']}"

    def _path(self, run_id: str, epoch: int) -> Path:
        return self.folder / f"{run_id}.{epoch}"

    def _owner(self, run_id: str, epoch: int) -> dict[str, Any]:
        """Who made a lease, and the step it began at; {} of one that is damaged, as by a power cut."""
        try:
            owner = json.loads(self._path(run_id, epoch).read_text())
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) and owner.keys() >= {"host", "pid", "start"} else {}

    def deaths(self, run_id: str, epoch: int, step: int) -> int:
        """How many leases in a row, back from this one, ended without being released and without a newer
        checkpoint: they began at `step`, where the next one would."""
        n = 0
        while n < epoch and self._path(run_id, epoch - n).stat().st_mtime != 0:
            if self._owner(run_id, epoch - n).get("step", step) != step:
                break
            n += 1
        return n

    def _unchanged(self, name: str, stamp: float) -> float:
        """Seconds for which this process has seen the lease with this stamp."""
        now = time.monotonic()
        if self.seen.get(name, (0.0, now))[0] != stamp:
            self.seen[name] = stamp, now
        return now - self.seen[name][1]

    def _now(self) -> float:
        """The file system's clock, which stamps the leases too; this host's where we may not write."""
        try:
            with tempfile.NamedTemporaryFile(dir=self.scratch) as file:
                return os.stat(file.name).st_mtime
        except PermissionError:
            return time.time()


def publish(scratch: Path, path: Path, text: str, durable: bool = False) -> bool:
    """Gives `text` the name `path`, whole; False if the name is taken. The answer of link(2) may get lost
    on NFS, so the count of links decides.

    Args:
      scratch: a folder of the same file system.
      path: the new name.
      text: the whole content.
      durable: whether it must outlive a power failure.
    """
    with tempfile.NamedTemporaryFile("w", dir=scratch) as file:
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
