"""A worker of several hosts: host 0 claims runs as any worker does and broadcasts what to train; the others
touch neither leases nor results.

A host that is lost takes the others with it: the run goes back unfinished and every process ends with code
75, to be started again, all together, by what started them. Within hosts.LOST_SECONDS; at once where jax
sees that host 0 is gone, which it answers by ending the process.
"""

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.store import Store
from launch.workers.hooks import StopRequested, WorkerHooks
from launch.workers.hosts import Hosts, join
from launch.workers.process import WORK_LEFT, StopEvent
from launch.workers.trainer import Trainer, jax_trainer
from launch.workers.work_loop import exit_code, work


def run(store: Store, stop: StopEvent, wait: bool) -> int:
    """Trains planned runs, each on all devices of all hosts, until asked to stop or none is left; returns the
    exit code.

    Raises:
      OSError: the study's folder cannot be written.
    """
    try:
        hosts = join()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    import jax

    from models.sharding import make_mesh

    trainer = jax_trainer(make_mesh({"fsdp": jax.device_count()}))
    if hosts.index:
        with hosts.watched(_leave):
            return follow(hosts, trainer, stop)
    leader = Leader(hosts, trainer, stop)
    with hosts.watched(leader.abandon):
        work(store, leader.trainer, stop, wait, pack="1")
        code = exit_code(store, stop, wait)
        hosts.broadcast({"leave": code})
        if leader.broken or not hosts.barrier():
            _leave(code)
    return code


class Leader:
    """Host 0. Its `trainer` has all hosts train what it is given; broken: hosts have parted with an error."""

    def __init__(self, hosts: Hosts, trainer: Trainer, stop: StopEvent):
        self.hosts, self.stop, self.broken = hosts, stop, False
        self.trainer = Trainer(self._train, trainer.newest_step, trainer.pack_size)
        self._train_here, self._hooks = trainer.train, []

    def _train(
        self, configs: list[dict[str, Any]], outs: list[Path], hooks: list[WorkerHooks], shared_prefixes: Path
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Has all hosts train. An error that one of them has alone ends the worker."""
        self._hooks = hooks
        folders = [str(out.absolute()) for out in outs]
        prefixes = str(shared_prefixes.absolute())
        self.hosts.broadcast({"configs": configs, "outs": folders, "shared_prefixes": prefixes})
        try:
            yield from self._train_here(configs, outs, hooks, shared_prefixes)
        except StopRequested:  # perhaps on another host
            self._stop()
            raise
        except Exception as error:
            if self.hosts.barrier():
                raise
            self.broken = True
            self._stop()
            if not _is_jax(error):
                raise  # our own, such as a full disk
            traceback.print_exc()
            raise StopRequested from None
        finally:
            self._hooks = []

    def _stop(self) -> None:
        if not self.stop.is_set():
            self.stop.code = WORK_LEFT
            self.stop.set()

    def abandon(self) -> None:
        """Releases the runs and ends the process, whatever it waits for."""
        for hook in self._hooks:
            hook.store.release(hook.lease)
        _leave()


@dataclass
class FollowerHooks:
    """Hooks of the other hosts: they pass on stop requests, and leave all else to host 0."""

    stop: threading.Event

    def should_stop(self) -> bool:
        return self.stop.is_set()

    def lost(self) -> bool:
        return False

    def progress(self, step: int, n_steps: int, tokens_per_second: float, loss: float) -> None:
        """As `Hooks.progress` of experiments.training.run_state: nothing, host 0 says how far the run is."""
        pass


def follow(hosts: Hosts, trainer: Trainer, stop: StopEvent) -> int:
    """Trains what host 0 says until it says to leave, or this host should stop; returns the exit code."""
    while message := hosts.receive(stop):
        if "leave" in message:
            if not hosts.barrier():
                _leave(message["leave"])
            return message["leave"]
        outs = [Path(out) for out in message["outs"]]
        hooks: list[Any] = [FollowerHooks(stop) for _ in outs]
        try:
            for _ in trainer.train(message["configs"], outs, hooks, Path(message["shared_prefixes"])):
                pass
        except (
            StopRequested
        ):  # on host 0 too, which says to leave: one gone without farewell makes jax abort it
            stop = StopEvent()
        except Exception as error:
            traceback.print_exc()
            if not hosts.barrier():
                _leave(WORK_LEFT if _is_jax(error) else 1)
    _leave()
    return WORK_LEFT


def _is_jax(error: Exception) -> bool:
    """Whether the error came out of compiled code or of jax's services, as when another host has gone."""
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError)


def _leave(code: int = WORK_LEFT) -> None:
    """Ends the process without the farewell for which jax would wait for all hosts."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
