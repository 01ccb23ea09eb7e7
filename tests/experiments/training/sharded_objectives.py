"""Runs of some objectives, alone and on eight virtual CPU devices; prints what test_objectives reads.

python -m tests.experiments.training.sharded_objectives FOLDER KIND…
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

import jax
import numpy as np

from experiments.config import OptimizerConfig
from experiments.training.checkpoints.load import load
from experiments.training.train import train
from models import ladder
from models.sharding import make_mesh
from tests.experiments.training.test_objectives import run_of
from tests.tiny_run import Hooks, make_training_cache, training_config


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 8)  # before jax does anything
    jax.config.update("jax_disable_most_optimizations", True)
    folder = Path(sys.argv[1])
    os.environ["ISOFLOP_CACHE"] = make_training_cache(folder / "cache")
    base = training_config(model=ladder(32, 264), n_tokens=64 * 4)
    data = dataclasses.replace(base.data, vocab_size=264)
    # A larger ε: Adam of gradients near 0 would make much of how they are rounded.
    base = dataclasses.replace(base, data=data, optimizer=OptimizerConfig(lr=0.01, eps=1e-3))
    train(base, folder / "base", Hooks())
    found = {}
    for kind in sys.argv[2:]:
        run, folders = run_of(kind, base), {name: folder / f"{kind}-{name}" for name in ("alone", "mesh")}
        rows = {
            "alone": train(run, folders["alone"], Hooks()),
            "mesh": train(run, folders["mesh"], Hooks(), make_mesh({"data": 2, "fsdp": 4})),
        }
        params = [load(each)[1] for each in folders.values()]
        gaps = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), *params)
        found[kind] = {"losses": [row["loss"] for row in rows.values()], "gap": max(jax.tree.leaves(gaps))}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
