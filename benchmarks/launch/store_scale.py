"""Times, bytes and files of a study of 10,000 runs: plan, submit, status, claim, finish.

    python benchmarks/launch/store_scale.py [RUNS, default 10000]

Commands are cold processes, from `python` to their end; the page cache is warm (dropping it needs root: as
root the benchmark does so before each command). Claims and finishes are those of 4 processes at once, each
with its queue, whose runs take no time: with the fsync of every result.
"""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from launch.store import Store

N_RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
N_WORKERS = 4
STUDY = """
import dataclasses
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides
from experiments.studies import Stage, Study
from models import ladder

@dataclasses.dataclass(frozen=True)
class Settings:
    n_runs: int = 10_000

def study(overrides):
    settings = apply_overrides(Settings(), overrides)
    models = [ladder(width, 259) for width in range(16, 176, 16)]
    def grid(runs):
        return [
            RunConfig(models[k % 10], DataConfig(), OptimizerConfig(1e-3 * (1 + k // 10 % 20)),
                      ScheduleConfig(), batch_tokens=512, seq_len=128, n_tokens=51200, seed=k // 200)
            for k in range(settings.n_runs)
        ]
    return Study("scale", "many runs", settings, (Stage("grid", grid),), lambda folder, runs: "done")
"""
GRID = f"""
seeds = {N_RUNS // 200}
[base]
preset = "transformer"
n_tokens = 51_200
[vary]
model.d_model = {list(range(16, 176, 16))}
optimizer.lr = {[1e-3 * (1 + k) for k in range(20)]}
"""
WORKER = """
import sys, time
from pathlib import Path
from launch.store import Store
from launch.store.claims import ClaimQueue
store, n = Store(Path(sys.argv[1])), 0
queue = ClaimQueue(store, lambda run: 1, lambda folder: 0)
store.plan.runs()
print("ready", flush=True)
sys.stdin.readline()
began, claiming = time.perf_counter(), 0.0
while True:
    before = time.perf_counter()
    claimed = queue.claim()
    claiming += time.perf_counter() - before
    if not claimed:
        break
    for each in claimed:
        n += store.finish(each.lease, {"status": "done", "loss": 1.0, "n_params": each.run.n_params,
                                       "flops_per_second": 1e9, "seconds": [0.0] * 100})
print(n, claiming, time.perf_counter() - began)
"""


def drop_caches() -> bool:
    """Whether the page cache is cold now."""
    with contextlib.suppress(OSError):
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
        return True
    return False


def cpu_seconds() -> float:
    """Of all processes that have been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(*arguments: str) -> float:
    cold = drop_caches()
    began, cpu_before = time.perf_counter(), cpu_seconds()
    command = [sys.executable, "-m", "launch.cli", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu_before
    words = f"{seconds:6.2f} s, of {cpu:.2f} s CPU, page cache {'cold' if cold else 'warm'}"
    print(f"isoflop {arguments[0]} {Path(arguments[1]).name:<10} {words}")
    return seconds


def claim_all(folder: Path) -> None:
    """All runs are claimed and finished by N_WORKERS processes."""
    command = [sys.executable, "-c", WORKER, str(folder)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in range(N_WORKERS)]
    pairs = [(worker.stdin, worker.stdout) for worker in workers if worker.stdin and worker.stdout]
    for _, said in pairs:
        said.readline()
    began = time.perf_counter()
    for asked, _ in pairs:
        asked.write("\n")
        asked.flush()
    reported = [worker.communicate()[0].split() for worker in workers]
    seconds = time.perf_counter() - began
    assert sum(int(n) for n, _, _ in reported) == N_RUNS
    share = sum(float(claiming) for _, claiming, _ in reported) / sum(
        float(total) for _, _, total in reported
    )
    rate = N_RUNS / seconds
    print(f"claim and finish: {rate:.0f} runs/s by {N_WORKERS} processes, {share:.0%} of it claiming")


def main() -> None:
    top = Path(tempfile.mkdtemp(prefix="isoflop-benchmark-"))
    study, folder = top / "scale.py", top / "study"
    study.write_text(STUDY)
    plan = ("plan", str(study), "--set", f"n_runs={N_RUNS}", "--out", str(folder))
    site = top / "site.toml"
    site.write_text('[slurm]\npartition = "main"\n')
    timed(*plan)
    manifest = folder / "store" / "study.jsonl"
    print(f"the plan is one file of {manifest.stat().st_size / N_RUNS:.0f} bytes a run")
    timed(*plan)
    (top / "grid.toml").write_text(GRID)
    timed("plan", str(top / "grid.toml"))
    timed("submit", str(folder), "--on", "slurm", "--site", str(site), "--code", str(study), "--dry_run")
    timed("status", str(folder))
    claim_all(folder)
    timed("status", str(folder))
    files = [path for path in folder.rglob("*") if path.is_file()]
    inodes = {path.stat().st_ino: path.stat().st_blocks * 512 for path in files}
    print(
        f"files a run: {len(files) / N_RUNS:.2f} names, {len(inodes) / N_RUNS:.2f} inodes, "
        f"{sum(inodes.values()) / N_RUNS:.0f} bytes on disk"
    )
    began = time.perf_counter()
    assert len(Store(folder).results()) == N_RUNS
    print(f"reading all results: {time.perf_counter() - began:.2f} s")
    print(json.dumps({"runs": N_RUNS, "cores": len(os.sched_getaffinity(0))}))
    shutil.rmtree(top)


if __name__ == "__main__":
    main()
