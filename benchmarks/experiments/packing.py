"""What training runs as one program brings: a sweep of learning rates and seeds at several pack sizes.

    python -m benchmarks.experiments.packing [--d_model 32] [--steps 100] [--packs 1,4,16]

Sixteen runs of one shape, 4 rates by 4 seeds, in packs of 1, 4 and 16 in one process, on whatever device
jax finds. Runs an hour leave out compiling, which is shown apart: it is paid once a shape and pack size. So
is the largest difference of a run's loss from the one it has alone.
"""

import argparse
import tempfile
import time
from pathlib import Path

import jax

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.cache import read_manifest
from experiments.data.prepare import prepare
from experiments.data_configs import DataConfig
from experiments.training.memory import pack_size
from experiments.training.result import describe_device
from experiments.training.train import train_packed
from models import count, ladder
from models.sharding import device_memory

RATES, SEEDS = (5e-3, 7e-3, 1e-2, 1.4e-2), (0, 1, 2, 3)


class Hooks:
    """Neither stops a run nor shows it."""

    def should_stop(self) -> bool:
        return False

    def lost(self) -> bool:
        return False

    def progress(self, *_) -> None:
        pass


def configs(d_model: int, n_steps: int) -> list[RunConfig]:
    data = DataConfig(fingerprint=read_manifest(prepare(DataConfig()))["fingerprint"])
    return [
        RunConfig(
            model=ladder(d_model, 259),
            data=data,
            optimizer=OptimizerConfig(lr),
            schedule=ScheduleConfig(),
            batch_tokens=512,
            seq_len=128,
            n_tokens=512 * n_steps,
            seed=seed,
            n_val_tokens=8192,
        )
        for lr in RATES
        for seed in SEEDS
    ]


def sweep(runs: list[RunConfig], size: int) -> tuple[dict[str, float], float]:
    """Losses of the runs, trained in packs of `size`, and the seconds that took."""
    losses, began = {}, time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="isoflop-benchmark-") as folder:
        for start in range(0, len(runs), size):
            packed = runs[start : start + size]
            outs = [Path(folder) / run.run_id for run in packed]
            for _, row in train_packed(packed, outs, [Hooks() for _ in packed]):
                losses[row["run_id"]] = row["loss"]
    return losses, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d_model", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--packs", default="1,4,16")
    arguments = parser.parse_args()
    runs = configs(arguments.d_model, arguments.steps)
    device = jax.local_devices()[0]
    chosen = pack_size(runs[0], device_memory(), device.platform)
    n_params = count(runs[0].model).n_params
    print(f"{describe_device(device)}; N = {n_params:,}; {len(runs)} runs of {arguments.steps} steps")
    alone, first = {}, 0.0
    for size in map(int, arguments.packs.split(",")):
        _, compiling = sweep(configs(arguments.d_model, n_steps=2)[:size], size)
        losses, seconds = sweep(runs, size)
        alone, rate = alone or losses, 3600 * len(runs) / seconds
        first = first or rate
        off = max(abs(losses[run_id] - alone[run_id]) for run_id in alone)
        print(
            f"packs of {size}: {rate:,.0f} runs/h, {rate / first:.2f} x; before that {compiling:.1f} s of "
            f"compiling; losses off by at most {off:.1e}"
        )
    print(f"`--pack auto` would take {chosen}")


if __name__ == "__main__":
    main()
