"""Several hosts join to train one run together; none of them is left waiting for one that is gone.

Only workers started with --hosts join: workers of single devices that srun started side by side must not
become one. Host 0 leads; its messages go through the key-value store of jax's coordination service, which is
there for as long as host 0 is.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

JOIN_SECONDS = 300  # for all hosts to come
WAIT_MS = 1000  # for a message, before looking whether to stop
BEAT_SECONDS = 1.0
LOST_SECONDS = 15.0  # without a beat a host counts as lost
JAX_LOST_SECONDS = 60  # the same for jax's own heartbeat, which ends a process where ours could not
BARRIER_SECONDS = 10.0  # hosts that have the same error, or leave together, do so within this time


@dataclass
class Hosts:
    """The hosts that have joined: this one is number `index` of `count`."""

    index: int = 0
    count: int = 1
    n_messages: int = 0

    def broadcast(self, message: dict[str, Any]) -> None:
        """Sends a message of host 0 to all others."""
        if self.count > 1:
            _client().key_value_set(f"isoflop/message/{self.n_messages}", json.dumps(message))
            self.n_messages += 1

    def receive(self, stop: threading.Event) -> dict[str, Any] | None:
        """The next message of host 0; None if this host should stop first."""
        while not stop.is_set():
            with contextlib.suppress(RuntimeError):  # jax's, when none has come in time
                text = _client().blocking_key_value_get(f"isoflop/message/{self.n_messages}", WAIT_MS)
                self.n_messages += 1
                return json.loads(text)
        return None

    def barrier(self) -> bool:
        """Whether all hosts call this, too, after the message they received last: to leave together, and
        because an error on all of them is the run's fault, and one on some of them is theirs."""
        try:
            if self.count > 1:
                _client().wait_at_barrier(f"isoflop/barrier/{self.n_messages}", int(1000 * BARRIER_SECONDS))
        except RuntimeError:
            return False
        return True

    @contextlib.contextmanager
    def watched(self, lost: Callable[[], None]) -> Iterator[None]:
        """Within the block sends heartbeats to the others; calls `lost`, once, when one of them has sent none
        for LOST_SECONDS.

        The thread that does so ends with the block: a process that ends while a thread is inside of jax's
        service aborts ("FATAL: exception not rethrown").
        """
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(lost, over), daemon=True)
        if self.count > 1:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if self.count > 1:
                thread.join(BARRIER_SECONDS)

    def _watch(self, lost: Callable[[], None], over: threading.Event) -> None:
        beats, n = dict.fromkeys(range(self.count), ""), 0
        changed = dict.fromkeys(beats, time.monotonic())
        while max(time.monotonic() - at for at in changed.values()) < LOST_SECONDS:
            n += 1
            with contextlib.suppress(RuntimeError):  # jax's, when host 0 does not answer
                _client().key_value_set(f"isoflop/beat/{self.index}", str(n), allow_overwrite=True)
                for key, beat in _client().key_value_dir_get("isoflop/beat/"):
                    host = int(key.rpartition("/")[2])
                    if beat != beats[host]:
                        beats[host], changed[host] = beat, time.monotonic()
            if over.wait(BEAT_SECONDS):
                return
        lost()


def join() -> Hosts:
    """Joins the hosts that were started together, and says which of them this one is; one host where the
    environment names no others. Imports jax, which must not have been used before.

    Named by ISOFLOP_COORDINATOR (address:port of host 0), ISOFLOP_HOSTS (their number) and ISOFLOP_HOST (this
    one's); by Slurm to the tasks of one srun; by GKE to the hosts of a TPU slice.

    Raises:
      ValueError: the environment is contradictory, or not all hosts came within JOIN_SECONDS.
    """
    import jax

    arguments = how_to_join(os.environ)
    if arguments is None:
        return Hosts()
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=JAX_LOST_SECONDS,
            shutdown_timeout_seconds=int(LOST_SECONDS),
        )
    except RuntimeError as error:
        raise ValueError(f"hosts: could not join the others: {error}") from None
    return Hosts(jax.process_index(), jax.process_count())


def how_to_join(env: MutableMapping[str, str]) -> dict[str, Any] | None:
    """Arguments for `jax.distributed.initialize`; None for a host alone. May name jax a port in `env`.

    Raises:
      ValueError: as `join`.
    """
    names = ("ISOFLOP_COORDINATOR", "ISOFLOP_HOSTS", "ISOFLOP_HOST")
    given = [name for name in names if env.get(name)]
    if given:
        if len(given) < 3 or not (env["ISOFLOP_HOSTS"].isdecimal() and env["ISOFLOP_HOST"].isdecimal()):
            raise ValueError(
                f"hosts: {', '.join(names)} go together, an address and two numbers; got {given}"
            )
        return {
            "coordinator_address": env["ISOFLOP_COORDINATOR"],
            "num_processes": int(env["ISOFLOP_HOSTS"]),
            "process_id": int(env["ISOFLOP_HOST"]),
            "cluster_detection_method": "deactivate",
        }
    if env.get("SLURM_STEP_NODELIST"):
        return _in_slurm(env) if int(env.get("SLURM_NTASKS", 1)) > 1 else None
    if int(env.get("SLURM_NNODES", 1)) > 1:
        raise ValueError("hosts: a job of several nodes joins them under srun; start the worker by srun")
    if "," in env.get("TPU_WORKER_HOSTNAMES", ""):
        return {}  # jax finds the hosts of a slice itself
    return None


def _in_slurm(env: MutableMapping[str, str]) -> dict[str, Any]:
    """As jax finds it, but for the port and the GPUs: jax would take one, whatever a task was given."""
    # Two steps of a job on one node must not meet on one port.
    step = int(env["SLURM_JOB_ID"]) + 97 * int(env.get("SLURM_STEP_ID", 0))
    env.setdefault("JAX_COORDINATOR_PORT", str(61440 + step % 4096))
    n_visible = len([name for name in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if name])
    n_tasks = int(env.get("SLURM_STEP_TASKS_PER_NODE", "1").partition("(")[0].partition(",")[0])
    # Tasks of a node see all its GPUs and share them out, unless Slurm has bound some to each.
    shared = n_visible >= n_tasks and "SLURM_GPUS_PER_TASK" not in env
    n_own = n_visible // n_tasks if shared else n_visible
    first = int(env["SLURM_LOCALID"]) * n_own if shared else 0
    return {"cluster_detection_method": "slurm", "local_device_ids": [*range(first, first + n_own)] or None}


def _client() -> Any:
    """The client of jax's coordination service. Imports jax and orbax."""
    from experiments.training.processes import coordination_client

    return coordination_client()
