"""What reuse of compiled steps brings: a grid in one worker, in separate processes, from the cache on disk.

    python benchmarks/launch/grid_reuse.py [STEPS OF A RUN, default 100]

Twelve runs of four shapes are trained (1) by one worker that keeps its compiled steps, (2) by twelve
`isoflop train` processes, each with a compile cache of its own that starts empty. Then the last of them is
started once more with the same cache: this time its compiled step is read from disk.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.cache import read_manifest
from experiments.data.prepare import prepare
from experiments.data_configs import DataConfig
from experiments.fields import to_json
from launch.driver.stages import planned_run
from launch.store import Store
from models import ladder

WIDTHS, RATES = (16, 24, 32, 40), (5e-3, 1e-2, 2e-2)
N_STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 100


def configs() -> list[RunConfig]:
    data = DataConfig(fingerprint=read_manifest(prepare(DataConfig()))["fingerprint"])
    return [
        RunConfig(
            model=ladder(width, 259),
            data=data,
            optimizer=OptimizerConfig(lr),
            schedule=ScheduleConfig(),
            batch_tokens=512,
            seq_len=128,
            n_tokens=512 * N_STEPS,
            n_val_tokens=8192,
        )
        for width in WIDTHS
        for lr in RATES
    ]


def timed(command: list[str], xla_cache: Path) -> float:
    began = time.perf_counter()
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(xla_cache)}
    subprocess.run([sys.executable, "-m", *command], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="isoflop-benchmark-"))
    runs = configs()
    store = Store(folder / "study")
    store.create()
    store.plan.add([planned_run("grid", config) for config in runs])
    worker = timed(["launch.workers.worker", str(store.folder)], folder / "worker-cache")
    assert set(store.states().values()) == {"done"}

    separate: list[float] = []
    for i, config in enumerate(runs):
        path = folder / f"{i}.json"
        path.write_text(json.dumps(to_json(config)))
        command = ["launch.cli", "train", str(path), "--out", str(folder / f"run{i}")]
        separate.append(timed(command, folder / f"cache{i}"))
    command[-1] = str(folder / "run-again")
    again = timed(command, folder / f"cache{i}")
    shutil.rmtree(folder)
    print(f"{len(runs)} runs of {len(WIDTHS)} shapes in one worker: {worker:.1f} s")
    ratio = sum(separate) / worker
    print(f"the same in {len(runs)} processes with cold caches: {sum(separate):.1f} s, {ratio:.1f} x")
    print(f"one process with a cold cache: {separate[-1]:.1f} s, again with a warm one: {again:.1f} s")


if __name__ == "__main__":
    main()
