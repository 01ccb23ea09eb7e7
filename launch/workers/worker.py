"""A worker process: claims planned runs, trains those that fit together, and records what came of each.

    python -m launch.workers.worker DIR [--pack auto|K] [--seconds S] [--wait] [--cores 0,1] [--hosts]

It prefers runs whose compiled step it already has. On SIGTERM, SIGINT or SIGUSR1 it checkpoints, gives its
runs back and exits with 0, within 20 s: if that does not suffice, it gives up the steps since the last
checkpoint. With --seconds it leaves in time before so much wall time is over; its exit code is 75 if runs
are left then. With --wait it stays for runs planned later, until the study is finished, and its exit code is
75 if it had to leave before; where its standard input is a pipe, from a pool that started it, it leaves when
that ends. With --hosts it trains each run on all devices of all hosts that were started together
(launch/workers/multihost_worker.py).
"""

import argparse
import contextlib
import errno
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.monitor.display import Every
from launch.store import UNFINISHED, PlannedRun, Store
from launch.store.claims import Claimed, ClaimQueue
from launch.store.leases import Lease
from launch.workers.process import (
    WORK_LEFT,
    Stop,
    prepare_process,
    stop_at_end_of_input,
    stop_in,
    stop_on_signals,
)

LOOK_SECONDS = 0.5  # between two looks at the lease, two writes of progress
LOOKS_A_SECOND = 16.0  # of all runs that train together, at most: a look may be slow on a shared file system
STOP_SECONDS = 20.0  # from the wish to stop to the lease given back, at most
LEAVE_SECONDS = STOP_SECONDS + 5  # before its time is over a worker begins to leave
MOST_DEATHS = 3  # workers that may die in a row over a run before that counts as its failure
STORAGE_FAILED = os.EX_IOERR  # exit code 74: no run is to blame, the disk is full or not writable


class Stopped(Exception):
    """The runs were asked to stop, have saved their state, and can be continued."""


@dataclass
class Hooks:
    """What a run in training, one of `n_packed` that train together, tells its worker, and asks it."""

    store: Store
    lease: Lease
    stop: threading.Event
    n_packed: int = 1
    vanished: bool = False  # the lease cannot be touched
    _lost: bool = False

    def __post_init__(self):
        seconds = max(LOOK_SECONDS, self.n_packed / LOOKS_A_SECOND)
        self._check_due, self._report_due = Every(seconds), Every(seconds)

    def should_stop(self) -> bool:
        """Whether to save the state of all runs that train together and raise Stopped."""
        return self.stop.is_set()

    def lost(self) -> bool:
        """Whether nothing of the run may be written any more: it is another worker's, or nobody wants it.

        A process that slept past its lease learns it here; it looks at most twice a second.
        """
        if not self._lost and self._check_due():
            gone = self.vanished or self.store.lost(self.lease)
            self._lost = gone or self.store.unwanted(self.lease.run_id)
        return self._lost

    def progress(self, step: int, n_steps: int, tokens_per_second: float, loss: float) -> None:
        """Shows how far the run is; may be called at every step, writes at most twice a second."""
        if self._report_due() and not self.lost():
            seen = {"step": step, "n_steps": n_steps, "tokens_per_second": tokens_per_second, "loss": loss}
            self.store.report_progress(self.lease, seen)


@dataclass(frozen=True)
class Job:
    """How runs are trained.

    train(configurations as JSON, folders, hooks, folder of trunks): yields (index, result) of each as it
    ends; raises Stopped when asked to stop. newest_step(folder): the step it would continue from.
    pack_size(configuration): how many runs like it train best as one program.
    """

    train: Callable[
        [list[dict[str, Any]], list[Path], list[Hooks], Path], Iterator[tuple[int, dict[str, Any]]]
    ]
    newest_step: Callable[[Path], int]
    pack_size: Callable[[dict[str, Any]], int]


def work(store: Store, job: Job, stop: threading.Event, wait: bool = False, pack: str = "auto") -> None:
    """Trains planned runs until told to stop or, unless `wait`, until none is left to claim.

    Raises:
      OSError: the study's folder cannot be written.
    """

    def pack_size(run: PlannedRun) -> int:
        if pack != "auto":
            return int(pack)
        fair = -(-(queue.n_free + 1) // n_workers(store))
        return min(job.pack_size(run.config), fair)

    queue = ClaimQueue(store, pack_size, job.newest_step)
    while not stop.is_set():
        if members := queue.claim():
            if sound := _sound(store, members):
                train_together(store, sound, job, stop)
        elif queue.more_to_come or (wait and not store.finished.exists()):
            stop.wait(queue.pause)
        else:
            return


def _sound(store: Store, members: list[Claimed]) -> list[Claimed]:
    """Without a run whose workers die again and again, which counts as a failed attempt."""
    for member in members:
        if member.lease.deaths >= MOST_DEATHS:
            times = f"{member.lease.deaths} times in a row"
            store.fail(member.lease, f"its worker died {times}: killed from outside, or out of memory")
    return [member for member in members if member.lease.deaths < MOST_DEATHS]


def n_workers(store: Store) -> int:
    """Workers that share the study, as last submitted."""
    slots = [job["slots"] for job in store.jobs() if job["kind"] == "workers"]
    return max(1, slots[-1]) if slots else 1


def train_together(store: Store, members: list[Claimed], job: Job, stop: threading.Event) -> None:
    """Trains claimed runs as one and records the end of each: a result, a failed attempt, or given back
    unfinished.

    Raises:
      OSError: the study's folder cannot be written.
    """
    outs = [store.run_folder(member.run.run_id) for member in members]
    hooks = [Hooks(store, member.lease, stop, len(members)) for member in members]
    for out in outs:
        out.mkdir(parents=True, exist_ok=True)
    together = f", with {len(members) - 1} others; output is in {outs[0]}/log.txt" if len(members) > 1 else ""
    open_members = dict(enumerate(members))

    def say(indices: list[int], text: str) -> None:
        for index in indices:
            _say(outs[index] / "log.txt", text)

    for index, member in enumerate(members):
        say([index], f"attempt {member.lease.epoch} begins in process {os.getpid()}{together}")
    configs = [member.run.config for member in members]
    with _output_into(outs[0] / "log.txt"):
        try:
            with _keeping(hooks, stop):
                for index, result in job.train(configs, outs, hooks, store.shared_prefixes):
                    if store.finish(members[index].lease, result):
                        say([index], f"{result['status']}, loss {result['loss']:.4f}")
                    else:
                        say([index], "another worker's result counts")
                    del open_members[index]
            lost = {index: member for index, member in open_members.items() if hooks[index].lost()}
            say(list(lost), "given up: another worker has taken this run over, or it is cancelled")
            _give_back(store, lost.values())
            # Given back, such a run would be claimed again at once, for ever.
            for index in open_members.keys() - lost.keys():
                say([index], "training ended without a result")
                store.fail(members[index].lease, "training ended without a result")
        except Stopped:
            _give_back(store, open_members.values())
            say(list(open_members), "stopped; the run can be continued")
        except Exception as error:
            if _is_about_storage(error):
                _give_back(store, open_members.values())
                raise OSError(f"{outs[0]}: {error}") from error
            say(list(open_members), traceback.format_exc().rstrip())
            words = traceback.format_exception_only(error)[-1].strip()
            for member in open_members.values():
                store.fail(member.lease, words)


def _give_back(store: Store, members) -> None:
    for member in members:
        store.release(member.lease)


@contextlib.contextmanager
def _keeping(hooks: list[Hooks], stop: threading.Event) -> Iterator[None]:
    """Touches the leases three times within their time to live until the block ends.

    A block that has not ended STOP_SECONDS after the wish to stop, in a step or a compilation that takes
    longer, ends with the process; its leases are given back.
    """
    store, ended = hooks[0].store, threading.Event()

    def keep():
        beat_due, wished = time.monotonic() + store.ttl / 3, None
        while not ended.wait(min(store.ttl / 3, LOOK_SECONDS)):
            now = time.monotonic()
            if stop.is_set():
                wished = wished or now
                if now - wished > STOP_SECONDS:
                    for hook in hooks:
                        store.release(hook.lease)
                    os._exit(getattr(stop, "code", 0))
            if now >= beat_due:
                beat_due = now + store.ttl / 3
                for hook in hooks:
                    try:
                        store.heartbeat(hook.lease)
                    except OSError:
                        hook.vanished = True

    thread = threading.Thread(target=keep, daemon=True)
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


def _say(log: Path, text: str) -> None:
    with open(log, "a") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def _is_about_storage(error: BaseException) -> bool:
    """Whether the disk is full or read-only; libraries that wrap the system's error keep its text."""
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return getattr(error, "errno", None) in codes or any(os.strerror(code) in str(error) for code in codes)


def training(mesh: Any = None) -> Job:
    """Real training, on the devices of a mesh or on one. Imports jax, so the process must be prepared."""
    import jax

    from experiments.config import RunConfig
    from experiments.fields import from_json
    from experiments.training import checkpoint, memory, train

    def train_all(configs, outs, hooks, trunks):
        try:
            runs = [from_json(RunConfig, config) for config in configs]
            yield from train.train_packed(runs, outs, hooks, mesh, trunks)
        except train.Stopped:
            raise Stopped from None

    def pack_size(config: dict[str, Any]) -> int:
        device = jax.local_devices()[0]
        return memory.pack_size(from_json(RunConfig, config), memory.device_memory(), device.platform)

    return Job(train_all, checkpoint.newest_step, pack_size)


def exit_code(store: Store, stop: Stop, wait: bool) -> int:
    """That of the wish to stop if work is left for a worker, else 0."""
    left = not store.finished.exists() if wait else any(s in UNFINISHED for s in store.states().values())
    return stop.code if left else 0


def main(job: Job | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m launch.workers.worker", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--pack", default="auto", help="runs that train as one program: auto or a number")
    parser.add_argument("--seconds", type=float, help="leave before so many seconds of wall time are over")
    parser.add_argument("--wait", action="store_true", help="wait for more runs until the study is finished")
    parser.add_argument("--cores", default="", help="cores to stay on, for example 0,1")
    parser.add_argument("--hosts", action="store_true", help="train runs together with the other hosts")
    arguments = parser.parse_args()
    stop = stop_on_signals()
    if arguments.wait:
        stop.code = WORK_LEFT
        stop_at_end_of_input(stop)
    if arguments.seconds:
        stop_in(max(arguments.seconds - LEAVE_SECONDS, arguments.seconds / 2), stop, WORK_LEFT)
    prepare_process(arguments.cores)
    store = Store(arguments.folder)
    try:
        if arguments.hosts:
            from launch.workers import multihost_worker

            return multihost_worker.run(store, stop, arguments.wait)
        work(store, job or training(), stop, arguments.wait, arguments.pack)
        return exit_code(store, stop, arguments.wait)
    except OSError as error:
        with contextlib.suppress(OSError):
            print(error, file=sys.stderr, flush=True)
        os._exit(STORAGE_FAILED)  # the usual way out would flush into the full disk again and lose the code


if __name__ == "__main__":
    sys.exit(main())
