"""How runs are trained, as a worker sees it: tests and benchmarks put another Trainer in its place."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.workers.hooks import StopRequested, WorkerHooks


@dataclass(frozen=True)
class Trainer:
    """How runs are trained.

    train(configurations as JSON, folders, hooks, folder of shared prefixes): yields (index, result) of each
    as it ends; raises StopRequested when asked to stop. newest_step(folder): the step it would continue from.
    pack_size(configuration): how many runs like it train best as one program.
    """

    train: Callable[
        [list[dict[str, Any]], list[Path], list[WorkerHooks], Path], Iterator[tuple[int, dict[str, Any]]]
    ]
    newest_step: Callable[[Path], int]
    pack_size: Callable[[dict[str, Any]], int]


def jax_trainer(mesh: Any = None) -> Trainer:
    """Training by experiments.training, on the devices of a mesh or on one. Imports jax: the process must be
    prepared."""
    import jax

    from experiments.config import RunConfig
    from experiments.fields import from_json
    from experiments.training import memory, train
    from experiments.training.checkpoints import checkpoint
    from models import sharding

    def train_all(configs, outs, hooks, shared_prefixes):
        try:
            runs = [from_json(RunConfig, config) for config in configs]
            for run, out in zip(runs, outs):
                if run.run_id != out.name:
                    raise ValueError(
                        f"{out}: the planned configuration is of run {run.run_id}; the plan was edited, or "
                        "made by another version: plan the study anew with its --out"
                    )
            yield from train.train_packed(runs, outs, hooks, mesh, shared_prefixes)
        except train.Stopped:
            raise StopRequested from None

    def pack_size(config: dict[str, Any]) -> int:
        device = jax.local_devices()[0]
        return memory.pack_size(from_json(RunConfig, config), sharding.device_memory(), device.platform)

    return Trainer(train_all, checkpoint.newest_step, pack_size)
