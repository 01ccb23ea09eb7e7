"""A worker as `python -m launch.workers.worker`, whose training only counts steps. Used by the tests of
launch.

The configuration says how a run behaves: seed 13 fails, seed 14 kills its process, seed 16 does so after each
step, lr > 1 diverges. A step takes 1 ms (seed 15: a minute) and is saved in runs/ID/steps, which must hold
0 1 2 … however often the run was continued, alone or in a pack.
"""

import functools
import os
import sys
import time
from pathlib import Path

from launch.store import Store
from launch.workers import hooks as worker_hooks
from launch.workers import worker
from launch.workers.hooks import StopRequested
from launch.workers.trainer import Trainer


def newest_step(out: Path) -> int:
    steps = out / "steps"
    return len(steps.read_text().split()) if steps.exists() else 0


def train(configs, outs, hooks, shared_prefixes):
    """Steps of all runs in turn; yields the result of each as it ends."""
    begin = newest_step(outs[0])
    assert all(newest_step(out) == begin for out in outs)
    started, left = time.monotonic(), dict(enumerate(configs))
    for k, config in list(left.items()):
        if begin >= n_steps(config):  # its last step was written, but its result was not
            del left[k]
            yield k, result(config, time.monotonic() - started)
    for step in range(begin, max(n_steps(config) for config in configs)):
        if any(hook.should_stop() for hook in hooks):
            raise StopRequested
        left = {k: config for k, config in left.items() if not hooks[k].lost()}
        for k, config in list(left.items()):
            if config["seed"] == 14:
                os._exit(9)
            with open(outs[k] / "steps", "a") as file:
                file.write(f"{step}\n")
            speed = 1000.0 * config["batch_tokens"]
            hooks[k].progress(step, n_steps(config), speed, 5.0 - step / n_steps(config))
            if config["seed"] == 13:
                raise RuntimeError(f"seed {config['seed']} is unlucky")
            if config["seed"] == 16:
                os._exit(9)
            if step + 1 == n_steps(config):
                del left[k]
                yield k, result(config, time.monotonic() - started)
        if not left:
            return
        time.sleep(60 if configs[0]["seed"] == 15 else 0.001)


def n_steps(config) -> int:
    return config["n_tokens"] // config["batch_tokens"]


def result(config, seconds: float) -> dict:
    lr, diverged = config["optimizer"]["lr"], config["optimizer"]["lr"] > 1
    return {
        "status": "diverged" if diverged else "done",
        "loss": float("inf") if diverged else 2.0 + lr + config["model"]["d_model"] / 1000,
        "lr": lr,
        "n_params": config["model"]["d_model"] ** 2,
        "n_tokens": config["n_tokens"],
        "flops": 1e9,
        "seed": config["seed"],
        "wall_seconds": seconds,
        "flops_per_second": 1e9,
        "data": {"task": "none", "tokenizer": {"name": "bytes"}},
        "conventions": {"loss": "nats per token"},
        "versions": {"fake": "1"},
        "device": "none",
    }


TRAINER = Trainer(train, newest_step, pack_size=lambda config: int(os.environ.get("FAKE_PACK", "1")))

if __name__ == "__main__":
    worker.Store = functools.partial(Store, backoff=0.05, ttl=float(os.environ.get("FAKE_TTL", "90")))
    worker_hooks.STOP_SECONDS = float(os.environ.get("FAKE_STOP_SECONDS", worker_hooks.STOP_SECONDS))
    sys.exit(worker.main(TRAINER))
