"""A worker of several hosts: host 0 claims runs as any worker does and tells the others what to train; they
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
from launch.workers.hosts import Hosts, join
from launch.workers.process import WORK_LEFT, Stop
from launch.workers.worker import Hooks, Job, Stopped, exit_code, training, work


def run(store: Store, stop: Stop, wait: bool) -> int:
    """Trains planned runs, each on all devices of all hosts, until told to stop or none is left; returns the
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

    job = training(make_mesh({"fsdp": jax.device_count()}))
    if hosts.index:
        hosts.watch(_leave)
        return follow(hosts, job, stop)
    leader = Leader(hosts, job, stop)
    hosts.watch(leader.abandon)
    work(store, leader.job, stop, wait, pack="1")
    code = exit_code(store, stop, wait)
    hosts.tell({"leave": code})
    if leader.broken or not hosts.all_meet():
        _leave(code)
    return code


class Leader:
    """Host 0."""

    def __init__(self, hosts: Hosts, job: Job, stop: Stop):
        self.hosts, self.stop, self.broken = hosts, stop, False
        self.job = Job(self._train, job.newest_step, job.pack_size)
        self._inner, self._hooks = job.train, []

    def _train(
        self, configs: list[dict[str, Any]], outs: list[Path], hooks: list[Hooks], trunks: Path
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Has all hosts train. What one of them meets alone breaks the gang."""
        self._hooks = hooks
        folders = [str(out.absolute()) for out in outs]
        self.hosts.tell({"configs": configs, "outs": folders, "trunks": str(trunks.absolute())})
        try:
            yield from self._inner(configs, outs, hooks, trunks)
        except Stopped:  # perhaps by the wish of another host
            self._stop()
            raise
        except Exception as error:
            if self.hosts.all_meet():
                raise
            self.broken = True
            self._stop()
            if not _is_jax(error):
                raise  # our own, such as a full disk
            traceback.print_exc()
            raise Stopped from None
        finally:
            self._hooks = []

    def _stop(self) -> None:
        if not self.stop.is_set():
            self.stop.code = WORK_LEFT
            self.stop.set()

    def abandon(self) -> None:
        """Gives the runs back and ends the process, whatever it waits for."""
        for hook in self._hooks:
            hook.store.release(hook.lease)
        _leave()


@dataclass
class Follower:
    """Hooks of the other hosts: they may wish to stop, and leave all else to host 0."""

    stop: threading.Event

    def should_stop(self) -> bool:
        return self.stop.is_set()

    def lost(self) -> bool:
        return False

    def progress(self, step: int, n_steps: int, tokens_per_second: float, loss: float) -> None:
        pass


def follow(hosts: Hosts, job: Job, stop: Stop) -> int:
    """Trains what host 0 says until it says to leave, or this host should stop; returns the exit code."""
    while message := hosts.hear(stop):
        if "leave" in message:
            if not hosts.all_meet():
                _leave(message["leave"])
            return message["leave"]
        outs = [Path(out) for out in message["outs"]]
        hooks: list[Any] = [Follower(stop) for _ in outs]
        try:
            for _ in job.train(message["configs"], outs, hooks, Path(message["trunks"])):
                pass
        except Stopped:  # in host 0 too, which says to leave: one gone without farewell makes jax abort it
            stop = Stop()
        except Exception as error:
            traceback.print_exc()
            if not hosts.all_meet():
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
