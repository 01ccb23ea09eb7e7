"""One run that changes its mesh on the way, on eight virtual CPU devices; prints what test_sharding reads.

python -m tests.experiments.training.sharded_run FOLDER
"""

import contextlib
import json
import os
import sys
from pathlib import Path

import jax
import numpy as np

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.training.checkpoints.checkpoint import Checkpoints
from experiments.training.train import PRETRAINING, Stopped, train, training_functions
from models import ladder
from models.sharding import make_mesh
from tests.tiny_run import make_cache

MESHES = ({"data": 2, "fsdp": 4}, {"fsdp": 2, "tensor": 4}, {"fsdp": 8})


class Hooks:
    """Asks to stop after `most` steps."""

    def __init__(self, most: float):
        self.left = most

    def should_stop(self) -> bool:
        return self.left <= 0

    def lost(self) -> bool:
        return False

    def progress(self, step: int, n_steps: int, tokens_per_second: float, loss: float) -> None:
        self.left -= 1


def restored(run: RunConfig, folder: Path, mesh) -> tuple:
    """The state in a run's checkpoint, laid out on a mesh."""
    params, opt_state = training_functions(run.model, "adamw", "wsd", mesh, 1).init(jax.random.key(9))
    found = Checkpoints(folder / "checkpoints").restore(params=params, opt_state=opt_state)
    assert found is not None
    for leaf, like in zip(jax.tree.leaves(found["params"]), jax.tree.leaves(params)):
        assert leaf.sharding == like.sharding
    return found["params"], found["opt_state"]


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 8)  # before jax does anything
    folder = Path(sys.argv[1])
    cache = folder / "cache" / "docstrings-tiny"
    fingerprint = make_cache(cache)
    manifest = json.loads((cache / "manifest.json").read_text())
    (cache / "manifest.json").write_text(json.dumps(manifest | {"source": {}, "licence": ""}))
    os.environ["ISOFLOP_CACHE"] = str(folder / "cache")
    run = RunConfig(
        model=ladder(32, 264),
        data=DataConfig(fingerprint=fingerprint, vocab_size=264),
        optimizer=OptimizerConfig(lr=0.01, eps=1e-3),
        schedule=ScheduleConfig(),
        batch_tokens=128,
        seq_len=16,
        n_tokens=128 * 16,
        n_val_tokens=160,
    )
    alone = train(run, folder / "alone", Hooks(np.inf))
    meshes = [make_mesh(shape) for shape in MESHES]
    for mesh in meshes[:2]:
        with contextlib.suppress(Stopped):
            train(run, folder / "moving", Hooks(4), mesh)
    states = [restored(run, folder / "moving", mesh) for mesh in (None, *meshes)]
    equal = [all(map(np.array_equal, jax.tree.leaves(states[0]), jax.tree.leaves(s))) for s in states[1:]]
    moved = train(run, folder / "moving", Hooks(np.inf), meshes[2])
    compiled = [
        training_functions(run.model, "adamw", "wsd", mesh, 1, PRETRAINING).step._cache_size()
        for mesh in meshes
    ]
    rows = {"alone": alone, "moved": moved, "equal": equal, "compiled": compiled}
    print(json.dumps(rows | {"same_run": alone["run_id"] == moved["run_id"]}))


if __name__ == "__main__":
    main()
