"""A worker as `python -m launch.worker`, whose training only counts steps. Used by the tests of launch.

The configuration says how a run behaves: seed 13 fails, seed 14 kills its process, lr > 1 diverges. A step
takes 1 ms and is saved in runs/ID/steps, which must hold 0 1 2 … however often the run was continued.
"""

import os
import sys
import time
from pathlib import Path

from launch import worker


def train(config, out: Path, hooks) -> dict:
    n_steps = config["n_tokens"] // config["batch_tokens"]
    steps = out / "steps"
    begin = len(steps.read_text().split()) if steps.exists() else 0
    started = time.monotonic()
    for step in range(begin, n_steps):
        if hooks.should_stop():
            raise worker.Stopped
        with open(steps, "a") as file:
            file.write(f"{step}\n")
        hooks.progress(step, n_steps, 1000.0 * config["batch_tokens"], 5.0 - step / n_steps)
        time.sleep(0.001)
        if config["seed"] == 13:
            raise RuntimeError(f"seed {config['seed']} is unlucky")
        if config["seed"] == 14:
            sys.stdout.flush()
            os._exit(9)
    lr, diverged = config["optimizer"]["lr"], config["optimizer"]["lr"] > 1
    return {
        "status": "diverged" if diverged else "done",
        "loss": float("inf") if diverged else 2.0 + lr + config["model"]["d_model"] / 1000,
        "lr": lr,
        "n_params": config["model"]["d_model"] ** 2,
        "n_tokens": config["n_tokens"],
        "flops": 1e9,
        "seed": config["seed"],
        "wall_seconds": time.monotonic() - started,
        "flops_per_second": 1e9,
        "data": {"task": "none", "tokenizer": {"name": "bytes"}},
        "conventions": {"loss": "nats per token"},
        "versions": {"fake": "1"},
        "device": "none",
    }


if __name__ == "__main__":
    sys.exit(worker.main(train))
