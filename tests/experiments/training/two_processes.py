"""A run on four virtual CPU devices, all of one process or two of each of two; what test_processes starts.

    python -m tests.experiments.training.two_processes FOLDER PORT PROCESS N_PROCESSES

Each process prints its steps, and at the end the row of the table of runs.
"""

import json
import sys
from pathlib import Path

import jax

from experiments.config import OptimizerConfig, ScheduleConfig
from experiments.training import packed_run
from experiments.training.train import train
from models.sharding import make_mesh
from tests.tiny_run import Hooks, training_config


class PrintSteps(Hooks):
    def progress(self, step: int, *_) -> None:
        print(f"step {step}", flush=True)


def main(folder: Path, port: int, process: int, n_processes: int) -> None:
    packed_run.CHECKPOINT_SECONDS = 0.2
    jax.config.update("jax_num_cpu_devices", 4 // n_processes)  # before jax does anything
    if n_processes > 1:
        jax.distributed.initialize(f"localhost:{port}", n_processes, process)
    # A low rate and a large epsilon, else rounding grows: on so little text runs learn by heart.
    run = training_config(
        optimizer=OptimizerConfig(lr=0.002, eps=1e-3),
        schedule=ScheduleConfig(warmup_tokens=64 * 6),
        n_tokens=64 * 120,
    )
    row = train(run, folder / run.run_id, PrintSteps(), make_mesh({"data": 2, "fsdp": 2}), folder / "trunks")
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
