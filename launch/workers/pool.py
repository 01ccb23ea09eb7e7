"""A pool of worker processes on this machine: one a core, or one a GPU."""

import glob
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from experiments.files import write_atomic
from launch.store import Store, study_file
from launch.workers.process import STORAGE_FAILED

WORKER = (sys.executable, "-P", "-m", "launch.workers.worker")  # -P: not what the working directory has
ROOT = Path(__file__).parents[2]
GRACE_SECONDS = 30.0  # for a worker to checkpoint and leave


class WorkersFailed(Exception):
    """Workers end again and again without finishing a run."""


@dataclass(frozen=True)
class WorkerSlot:
    """The part of the machine that one worker has: its cores, or a GPU and any core."""

    name: str
    cores: tuple[int, ...] = ()
    gpu: str = ""


def machine_slots(n_workers: int | None = None) -> list[WorkerSlot]:
    """`n_workers` equal parts of this machine; by default one a GPU, else one a core."""
    gpus, cores = _gpus(), _cores()
    if gpus:
        return [WorkerSlot(f"gpu{k}", gpu=gpus[k % len(gpus)]) for k in range(n_workers or len(gpus))]
    n = n_workers or len(cores)
    return [WorkerSlot(f"cpu{k}", cores=tuple(cores[k % len(cores) :: n])) for k in range(n)]


def whole_machine() -> list[WorkerSlot]:
    """One part: everything."""
    return [WorkerSlot("all", cores=tuple(_cores()))]


def sized(slots: list[WorkerSlot], n_runs: int) -> list[WorkerSlot]:
    """The slots for so few runs: each run's worker gets more cores, or GPUs stay idle."""
    if n_runs >= len(slots) or not slots:
        return slots
    if slots[0].gpu:
        return slots[:n_runs]
    cores = sorted({core for slot in slots for core in slot.cores})
    return [WorkerSlot(f"cpu{k}of{n_runs}", cores=tuple(cores[k::n_runs])) for k in range(n_runs)]


@dataclass
class WorkerPool:
    """Workers of the study in `folder`, one a slot in use; a worker that dies is replaced.

    A worker learns from the end of its standard input, a pipe from here, that it should leave. Workers have
    a session of their own, so that Ctrl-C in a terminal reaches only us and we stop them in order.
    """

    folder: Path
    pack: str = "auto"
    command: tuple[str, ...] = field(default_factory=lambda: WORKER)
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    max_deaths: int = 3  # of one slot's workers, while no run is finished
    _workers: dict[WorkerSlot, subprocess.Popen] = field(default_factory=dict)
    _leaving: list[subprocess.Popen] = field(default_factory=list)
    _deaths: dict[WorkerSlot, int] = field(default_factory=dict)
    _finished: int = 0

    def use(self, slots: list[WorkerSlot]) -> None:
        """Has exactly one worker in each of `slots`; workers elsewhere leave in their own time."""
        for slot in self._workers.keys() - set(slots):
            worker = self._workers.pop(slot)
            assert worker.stdin
            worker.stdin.close()
            self._leaving.append(worker)
        for slot in slots:
            if slot not in self._workers:
                self._workers[slot] = self._start(slot)

    def check(self, n_finished: int) -> None:
        """Replaces workers that have died. `n_finished` runs are finished so far: while that number grows,
        deaths are forgiven.

        Raises:
          WorkersFailed: workers of one slot died `max_deaths` times in a row.
          OSError: a worker could not write into the study's folder.
        """
        if n_finished > self._finished:
            self._finished, self._deaths = n_finished, {}
        self._leaving = [worker for worker in self._leaving if worker.poll() is None]
        for slot, worker in list(self._workers.items()):
            code = worker.poll()
            if code is None:
                continue
            if code == STORAGE_FAILED:
                probe = self.folder / "store" / "scratch" / "probe"
                write_atomic(probe, bytes(2**20))  # fails with the system's own words
                probe.unlink()
                raise OSError(f"a worker could not write; see {self._log(slot)}")
            self._deaths[slot] = self._deaths.get(slot, 0) + 1
            if self._deaths[slot] >= self.max_deaths:
                raise WorkersFailed(
                    f"worker {slot.name} died {self.max_deaths} times while no run was finished, "
                    f"last {_cause(code)}; see {self._log(slot)}"
                )
            self._workers[slot] = self._start(slot)

    def stop(self) -> None:
        """Lets every worker checkpoint and leave; kills those that have not left after GRACE_SECONDS."""
        self.use([])
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            for worker in self._leaving:
                worker.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            for worker in self._leaving:
                worker.kill()
                worker.wait()
        self._leaving = []

    def _start(self, slot: WorkerSlot) -> subprocess.Popen:
        command = [*self.command, str(self.folder), "--wait", "--pack", self.pack]
        command += study_file.worker_code(Store(self.folder), self.folder)
        if slot.cores:
            command += ["--cores", ",".join(map(str, slot.cores))]
        # Workers that share a GPU, or follow each other on it, must not each reserve most of its memory.
        memory = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        path = [str(ROOT), *filter(None, [self.environment.get("PYTHONPATH")])]  # the code that we are, too
        environment = memory | self.environment | {"PYTHONPATH": os.pathsep.join(path)}
        environment |= {"CUDA_VISIBLE_DEVICES": slot.gpu} if slot.gpu else {}
        with open(self._log(slot), "ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _log(self, slot: WorkerSlot) -> Path:
        return self.folder / "store" / f"worker-{slot.name}.log"


def _gpus() -> list[str]:
    """CUDA devices that workers' jax would use, as CUDA_VISIBLE_DEVICES names them; jax is not imported."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if (platforms and "cuda" not in platforms and "gpu" not in platforms) or not any(
        importlib.util.find_spec(name) for name in plugins
    ):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    return [str(k) for k in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def _cores() -> list[int]:
    """Cores that this process may use. A container may have less time than cores: then any few of them, so
    that neighbours in the same position do not all pile up on the first ones."""
    if not hasattr(os, "sched_getaffinity"):  # not Linux
        return list(range(os.cpu_count() or 1))
    cores = sorted(os.sched_getaffinity(0))
    return sorted(random.sample(cores, min(len(cores), _cpu_quota())))


def _cpu_quota() -> int:
    """Cores' worth of time that a container may use."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return sys.maxsize
    return sys.maxsize if quota == "max" else max(1, round(int(quota) / int(period)))


def _cause(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"with exit code {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"by {signal.Signals(-code).name}{hint}"
