"""What shared prefixes save: a ladder of budgets under warm-up, constant rate and decay, with and without.

    python -m benchmarks.experiments.shared_prefixes [STEPS OF THE SHORTEST RUN, default 200]

Four runs, each twice as long as the one before, decay over their last 0.3. With shared prefixes each begins
where the one before it branched off into its decay. Both ladders use the same compiled step, compiled before.
"""

import sys
import tempfile
import time
from pathlib import Path

import jax

from benchmarks.experiments.packing import Hooks
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.cache import read_manifest
from experiments.data.prepare import prepare
from experiments.data_configs import DataConfig
from experiments.training.result import describe_device
from experiments.training.train import train
from models import count, ladder


def config(n_steps: int) -> RunConfig:
    return RunConfig(
        model=ladder(32, 259),
        data=DataConfig(fingerprint=read_manifest(prepare(DataConfig()))["fingerprint"]),
        optimizer=OptimizerConfig(1e-2),
        schedule=ScheduleConfig(warmup_tokens=512 * 10),
        batch_tokens=512,
        seq_len=128,
        n_tokens=512 * n_steps,
        n_val_tokens=8192,
    )


def main() -> None:
    shortest = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    runs = [config(shortest * 2**i) for i in range(4)]
    print(f"{describe_device(jax.local_devices()[0])}; N = {count(runs[0].model).n_params:,}; steps", end=" ")
    print(*(run.n_steps for run in runs), sep=", ")
    with tempfile.TemporaryDirectory(prefix="isoflop-benchmark-") as folder:
        root, rows, seconds = Path(folder), {}, {}
        train(config(20), root / "compile", Hooks())
        for name, prefixes in (("without", None), ("with", root / "trunks")):
            began = time.perf_counter()
            rows[name] = [train(run, root / name / run.run_id, Hooks(), None, prefixes) for run in runs]
            seconds[name] = time.perf_counter() - began
        records = [
            [(root / name / run.run_id / "metrics.jsonl").read_bytes() for run in runs] for name in rows
        ]
    flops = sum(row["flops"] for row in rows["with"])
    saved = sum(row["flops"] * row["trunk_steps"] / row["n_steps"] for row in rows["with"])
    losses = [[row["loss"] for row in rows[name]] for name in rows]
    print(f"FLOPs {flops:.3g} without sharing, {flops - saved:.3g} with: {saved / flops:.1%} saved")
    faster = 1 - seconds["with"] / seconds["without"]
    print(f"wall time {seconds['without']:.1f} s without, {seconds['with']:.1f} s with: {faster:.1%} saved")
    off = max(abs(x - y) for x, y in zip(*losses))
    print(
        f"losses differ by at most {off}; records are {'equal' if records[0] == records[1] else 'NOT equal'}"
    )


if __name__ == "__main__":
    main()
