"""Where workers run: this machine, Slurm, Kubernetes.

    interface     Backend: the functions that each offers; Submission: what it is handed; JobLog
    local, slurm, kubernetes    the backends

To add one: a module with the functions of Backend, and its line in BACKENDS; tests/launch/backends check it.
A backend may import launch.store, launch.monitor, launch.workers and launch.driver, none may import another.
They are loaded when they are asked for, so that commands start quickly.
"""

import importlib
from typing import Any, cast

from launch.backends.interface import Backend
from launch.store import Store

BACKENDS = {
    "kubernetes": "launch.backends.kubernetes.backend",
    "local": "launch.backends.local",
    "slurm": "launch.backends.slurm.backend",
}

__all__ = ["BACKENDS", "Backend", "backends_of", "load_backend"]


def load_backend(name: str) -> Backend:
    """The module of one of BACKENDS."""
    return cast(Backend, importlib.import_module(BACKENDS[name]))


def backends_of(store: Store) -> list[tuple[Backend, list[dict[str, Any]]]]:
    """The backends that the study was submitted to, each with its jobs."""
    jobs: dict[str, list[dict[str, Any]]] = {}
    for job in store.jobs():
        jobs.setdefault(job["backend"], []).append(job)
    return [(load_backend(name), mine) for name, mine in jobs.items()]
