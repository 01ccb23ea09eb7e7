"""A worker process: claims planned runs one after another, trains them and records what came of each.

    python -m launch.worker DIR [--cores 0,1] [--wait]

It prefers runs whose compiled step it already has. SIGTERM and SIGINT make it checkpoint, give its run back
and exit. With --wait it stays for runs planned later, until its standard input ends: the driver holds the
other end of that pipe, so a worker outlives neither the study nor a driver that was killed.
"""

import argparse
import contextlib
import errno
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.progress import Every
from launch.store import Lease, Planned, Store

POLL_SECONDS = 0.1
LOOK_SECONDS = 0.5  # between two looks at the lease, two writes of progress
STORAGE_FAILED = os.EX_IOERR  # exit code: no run is to blame, the disk is full or not writable


class LeaseLost(Exception):
    """Another worker has taken the run over; ours must not write any more."""


class Stopped(Exception):
    """The run was asked to stop, has saved its state, and can be continued."""


@dataclass
class Hooks:
    """What a run in training tells its worker, and asks it."""

    store: Store
    lease: Lease
    stop: threading.Event
    vanished: threading.Event = field(default_factory=threading.Event)  # the lease cannot be touched
    _check_due: Every = field(default_factory=lambda: Every(LOOK_SECONDS))
    _report_due: Every = field(default_factory=lambda: Every(LOOK_SECONDS))

    def should_stop(self) -> bool:
        """Whether to save the state and raise Stopped.

        Raises:
          LeaseLost: the run is another worker's now; a process that slept past its lease learns it here.
        """
        if self._check_due() and (self.vanished.is_set() or self.store.lost(self.lease)):
            raise LeaseLost
        return self.stop.is_set()

    def progress(self, step: int, n_steps: int, tokens_per_second: float, loss: float) -> None:
        """Shows how far the run is; may be called at every step, writes at most twice a second."""
        if self._report_due():
            seen = {"step": step, "n_steps": n_steps, "tokens_per_second": tokens_per_second, "loss": loss}
            path = self.store.root / "progress" / self.lease.run_id
            scratch = self.store.root / "scratch" / f"{self.lease.run_id}.{self.lease.epoch}"
            scratch.write_text(json.dumps(seen))
            scratch.replace(path)


# Trains one run: configuration as JSON, folder, hooks -> its result. Raises Stopped when asked to stop.
Job = Callable[[dict[str, Any], Path, Hooks], dict[str, Any]]


def work(store: Store, job: Job, stop: threading.Event, wait: bool = False) -> None:
    """Runs planned runs until told to stop or, unless `wait`, until none is free.

    Raises:
      OSError: the study's folder cannot be written.
    """
    shape = ""
    while not stop.is_set():
        lease = claim_next(store, shape)
        if lease:
            run = store.planned()[lease.run_id]
            shape = run.shape
            run_one(store, lease, run, job, stop)
        elif wait:
            stop.wait(POLL_SECONDS)
        else:
            return


def claim_next(store: Store, shape: str) -> Lease | None:
    """Claims a free run: of `shape` first, then of a shape that nobody works on; the most expensive first."""
    states = store.states()
    planned = store.planned()  # after the states: runs are only ever added
    busy = {planned[run_id].shape for run_id, state in states.items() if state == "running"}
    free = [planned[run_id] for run_id, state in states.items() if state == "planned"]
    for run in sorted(free, key=lambda run: (run.shape != shape, run.shape in busy, -run.flops)):
        if lease := store.claim(run.run_id):
            return lease
    return None


def run_one(store: Store, lease: Lease, run: Planned, job: Job, stop: threading.Event) -> None:
    """Trains one claimed run and records its end: a result, a failed attempt, or given back unfinished."""
    out = store.run_folder(run.run_id)
    out.mkdir(parents=True, exist_ok=True)
    hooks = Hooks(store, lease, stop)
    with _output_into(out / "log.txt"):
        _say(f"attempt {lease.epoch} begins in process {os.getpid()}")
        try:
            with _heartbeat(store, lease, hooks.vanished):
                result = job(run.config, out, hooks)
            if store.finish(lease, result):
                _say(f"{result['status']}, loss {result['loss']:.4f}")
            else:
                _say("another worker's result counts")
        except Stopped:
            store.release(lease)
            _say("stopped; the run can be continued")
        except LeaseLost:
            _say("another worker has taken this run over")
        except Exception as error:
            if _is_about_storage(error):
                store.release(lease)
                raise OSError(f"{out}: {error}") from error
            traceback.print_exc()
            store.fail(lease, traceback.format_exception_only(error)[-1].strip())


@contextlib.contextmanager
def _heartbeat(store: Store, lease: Lease, vanished: threading.Event) -> Iterator[None]:
    """Touches the lease three times within its time to live, until the block ends."""
    ended = threading.Event()

    def beat():
        while not ended.wait(store.ttl / 3):
            try:
                store.beat(lease)
            except OSError:
                vanished.set()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()  # else a late beat could undo a release


@contextlib.contextmanager
def _output_into(path: Path) -> Iterator[None]:
    """Appends everything this process prints, compiled code included, to the file."""
    kept = [os.dup(1), os.dup(2)]
    with open(path, "ab") as file:
        _redirect([file.fileno()] * 2)
    try:
        yield
    finally:
        _redirect(kept)
        os.close(kept[0])
        os.close(kept[1])


def _redirect(descriptors: list[int]) -> None:
    """Points standard output and standard error elsewhere."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptors[0], 1)
    os.dup2(descriptors[1], 2)


def _say(text: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)


def _is_about_storage(error: BaseException) -> bool:
    """Whether the disk is full or read-only; libraries that wrap the system's error keep its text."""
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return getattr(error, "errno", None) in codes or any(os.strerror(code) in str(error) for code in codes)


def prepare_process(cores: str = "") -> None:
    """Pins this process and names the persistent compile cache. Must come before numpy and jax are imported.

    The matrices of numpy are small here: BLAS threads cost ten times what they give.
    """
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    cache = Path(os.environ.get("ISOFLOP_CACHE") or Path.home() / ".cache/isoflop")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM or SIGINT sets; a second one ends the process at once."""
    stop = threading.Event()

    def handle(number, _):
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _stop_at_end_of_input(stop: threading.Event) -> None:
    def watch():
        while os.read(0, 4096):
            pass
        stop.set()

    threading.Thread(target=watch, daemon=True).start()


def _training() -> Job:
    """Real training. Imports jax, so the process must be prepared."""
    from experiments import train
    from experiments.config import RunConfig, from_json

    def job(config: dict[str, Any], out: Path, hooks: Hooks) -> dict[str, Any]:
        try:
            return train.train(from_json(RunConfig, config), out, hooks)
        except train.Stopped:
            raise Stopped from None

    return job


def main(job: Job | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m launch.worker", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--cores", default="", help="cores to stay on, for example 0,1")
    parser.add_argument("--wait", action="store_true", help="wait for more runs until standard input ends")
    arguments = parser.parse_args()
    stop = stop_on_signals()
    if arguments.wait:
        _stop_at_end_of_input(stop)
    prepare_process(arguments.cores)
    try:
        work(Store(arguments.folder), job or _training(), stop, arguments.wait)
    except OSError as error:
        with contextlib.suppress(OSError):
            print(error, file=sys.stderr, flush=True)
        os._exit(STORAGE_FAILED)  # the usual way out would flush into the full disk again and lose the code
    return 0


if __name__ == "__main__":
    sys.exit(main())
