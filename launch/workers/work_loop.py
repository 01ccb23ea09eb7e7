"""The loop of a worker: claim runs that fit together, train them, record what came of each."""

import errno
import os
import threading
import traceback

from launch.store import UNFINISHED, PlannedRun, Store
from launch.store.claims import Claimed, ClaimQueue
from launch.workers import run_log
from launch.workers.hooks import StopRequested, WorkerHooks, heartbeats
from launch.workers.process import StopEvent
from launch.workers.trainer import Trainer

MOST_DEATHS = 3  # workers that may die in a row over a run before that counts as its failure


def work(
    store: Store, trainer: Trainer, stop: threading.Event, wait: bool = False, pack: str = "auto"
) -> None:
    """Trains planned runs until asked to stop or, unless `wait`, until none is left to claim.

    Args:
      store: the study.
      trainer: trains the claimed runs.
      stop: set when this worker should leave.
      wait: stay for runs planned later, until the study is finished.
      pack: how many runs train as one program, a number or "auto".

    Raises:
      OSError: the study's folder cannot be written.
    """

    def pack_size(run: PlannedRun) -> int:
        if pack != "auto":
            return int(pack)
        fair = -(-(queue.n_free + 1) // n_workers(store))
        return min(trainer.pack_size(run.config), fair)

    queue = ClaimQueue(store, pack_size, trainer.newest_step)
    while not stop.is_set():
        if claimed := queue.claim():
            if trainable := _trainable(store, claimed):
                train_together(store, trainable, trainer, stop)
        elif queue.more_to_come or (wait and not store.finished.exists()):
            stop.wait(queue.pause)
        else:
            return


def _trainable(store: Store, claimed: list[Claimed]) -> list[Claimed]:
    """Without a run whose workers die again and again, which counts as a failed attempt."""
    for each in claimed:
        if each.lease.deaths >= MOST_DEATHS:
            times = f"{each.lease.deaths} times in a row"
            store.fail(each.lease, f"its worker died {times}: killed from outside, or out of memory")
    return [each for each in claimed if each.lease.deaths < MOST_DEATHS]


def n_workers(store: Store) -> int:
    """Workers that share the study, as last submitted."""
    slots = [job["slots"] for job in store.jobs() if job["kind"] == "workers"]
    return max(1, slots[-1]) if slots else 1


def train_together(store: Store, claimed: list[Claimed], trainer: Trainer, stop: threading.Event) -> None:
    """Trains claimed runs as one and records the end of each: a result, a failed attempt, or its release,
    unfinished.

    Args:
      store: the study.
      claimed: runs of one pack, with their leases.
      trainer: trains them.
      stop: set when this worker should leave.

    Raises:
      OSError: the study's folder cannot be written.
    """
    outs = [store.run_folder(each.run.run_id) for each in claimed]
    hooks = [WorkerHooks(store, each.lease, stop, len(claimed)) for each in claimed]
    for out in outs:
        out.mkdir(parents=True, exist_ok=True)
    together = f", with {len(claimed) - 1} others; output is in {outs[0]}/log.txt" if len(claimed) > 1 else ""
    unfinished = dict(enumerate(claimed))

    def say(indices: list[int], text: str) -> None:
        for index in indices:
            run_log.append(outs[index] / "log.txt", text)

    for index, each in enumerate(claimed):
        say([index], f"attempt {each.lease.epoch} begins in process {os.getpid()}{together}")
    configs = [each.run.config for each in claimed]
    with run_log.output_into(outs[0] / "log.txt"):
        try:
            with heartbeats(hooks, stop):
                for index, result in trainer.train(configs, outs, hooks, store.shared_prefixes):
                    if store.finish(claimed[index].lease, result):
                        say([index], f"{result['status']}, loss {result['loss']:.4f}")
                    else:
                        say([index], "another worker's result counts")
                    del unfinished[index]
            lost = {index: each for index, each in unfinished.items() if hooks[index].lost()}
            say(list(lost), "given up: another worker has taken this run over, or it is cancelled")
            _release(store, lost.values())
            # Released, such a run would be claimed again at once, for ever.
            for index in unfinished.keys() - lost.keys():
                say([index], "training ended without a result")
                store.fail(claimed[index].lease, "training ended without a result")
        except StopRequested:
            _release(store, unfinished.values())
            say(list(unfinished), "stopped; the run can be continued")
        except Exception as error:
            if _is_about_storage(error):
                _release(store, unfinished.values())
                raise OSError(f"{outs[0]}: {error}") from error
            say(list(unfinished), traceback.format_exc().rstrip())
            words = traceback.format_exception_only(error)[-1].strip()
            for each in unfinished.values():
                store.fail(each.lease, words)


def _release(store: Store, claimed) -> None:
    for each in claimed:
        store.release(each.lease)


def _is_about_storage(error: BaseException) -> bool:
    """Whether the disk is full or read-only; libraries that wrap the system's error keep its text."""
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return getattr(error, "errno", None) in codes or any(os.strerror(code) in str(error) for code in codes)


def exit_code(store: Store, stop: StopEvent, wait: bool) -> int:
    """That of the stop request if work is left for a worker, else 0."""
    left = not store.finished.exists() if wait else any(s in UNFINISHED for s in store.states().values())
    return stop.code if left else 0
