"""Runs an hour of the pool of workers against one cold process a run, on the same cores.

    python benchmarks/launch/grid_throughput.py [STEPS OF A RUN, default 100] [--pack auto|K]

Two grids: that of the quickstart study (its sizes, a few runs each) and 64 runs of one size, 8 learning rates
by 8 seeds. The pool is `isoflop submit` with a compile cache that starts empty: its time includes starting
workers and compiling. Against it stands `isoflop train` for each run, with a cache of its own that starts
empty, a process a core at a time; a sample of the runs is timed, at least one of every size, and the time of
all is taken from it. Runs are short, as few steps as given: the longer they are, the less starting counts.
"""

import argparse
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
from experiments.studies.quickstart.study import Settings
from launch.store import Store
from models import ladder

STUDY = """
import json
from pathlib import Path
from experiments.config import RunConfig
from experiments.fields import from_json
from experiments.studies import Stage, Study

def study(overrides):
    given = json.loads(Path(__file__).with_suffix(".json").read_text())
    stage = Stage("grid", lambda runs: [from_json(RunConfig, values) for values in given])
    return Study("grid", "given runs", None, (stage,), lambda folder, runs: "done")
"""


def grids(n_steps: int) -> dict[str, list[RunConfig]]:
    data = DataConfig(fingerprint=read_manifest(prepare(DataConfig()))["fingerprint"])

    def config(width: int, lr: float, seed: int) -> RunConfig:
        optimizer, schedule, length = OptimizerConfig(lr), ScheduleConfig(), 512 * n_steps
        model = ladder(width, 259)
        return RunConfig(model, data, optimizer, schedule, 512, 128, length, seed, n_val_tokens=8192)

    widths = [width for budget in Settings().grid for width in budget.d_models]
    rates = [1e-3 * 2 ** (k / 2) for k in range(8)]
    return {
        "quickstart grid": [config(width, 0.01, seed) for seed, width in enumerate(widths)],
        "64-run sweep": [config(32, lr, seed) for lr in rates for seed in range(8)],
    }


def by_pool(configs: list[RunConfig], folder: Path, pack: str) -> float:
    """Seconds from the command to the last result."""
    folder.mkdir()
    (folder / "study.py").write_text(STUDY)
    (folder / "study.json").write_text(json.dumps([to_json(config) for config in configs]))
    out, isoflop = str(folder / "out"), [sys.executable, "-m", "launch.cli"]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    plan = [*isoflop, "plan", str(folder / "study.py"), "--out", out, "--nomemory"]
    subprocess.run(plan, check=True, stdout=subprocess.DEVNULL)
    began = time.perf_counter()
    submit = [*isoflop, "submit", out, "--pack", pack]
    subprocess.run(submit, check=True, stdout=subprocess.DEVNULL, env=environment)
    seconds = time.perf_counter() - began
    assert len(Store(folder / "out").results()) == len(configs)
    return seconds


def by_processes(configs: list[RunConfig], folder: Path) -> float:
    """Seconds for all of the sample, one process a core at a time."""
    folder.mkdir()
    waiting, running, free = list(enumerate(configs)), {}, sorted(os.sched_getaffinity(0))
    began = time.perf_counter()
    while waiting or running:
        for process in [process for process in running if process.poll() is not None]:
            assert process.returncode == 0
            free.append(running.pop(process))
        while waiting and free:
            k, config = waiting.pop()
            path, core = folder / f"{k}.json", free.pop()
            path.write_text(json.dumps(to_json(config)))
            train = [sys.executable, "-m", "launch.cli", "train", str(path), "--out", str(folder / f"run{k}")]
            environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / f"cache{k}")}
            command = ["taskset", "-c", str(core), *train]
            running[subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)] = core
        time.sleep(0.02)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n_steps", nargs="?", type=int, default=100)
    parser.add_argument("--pack", default="auto")
    arguments = parser.parse_args()
    top = Path(tempfile.mkdtemp(prefix="isoflop-benchmark-"))
    for name, configs in grids(arguments.n_steps).items():
        pool = by_pool(configs, top / f"{name} pool", arguments.pack)
        one_of_each = {config.shape_key: config for config in configs}
        sample = list(one_of_each.values()) if len(one_of_each) > 1 else configs[:6]
        cold = by_processes(sample, top / f"{name} cold") / len(sample) * len(configs)
        n, ours, theirs = len(configs), 3600 * len(configs) / pool, 3600 * len(configs) / cold
        print(f"{name}, {n} runs of {arguments.n_steps} steps, {len(one_of_each)} sizes:")
        print(f"  the pool {pool:.1f} s, {ours:.0f} runs/h")
        print(f"  a cold process each {cold:.1f} s (from {len(sample)} of them), {theirs:.0f} runs/h")
        print(f"  ratio {cold / pool:.1f}")
    shutil.rmtree(top)


if __name__ == "__main__":
    main()
