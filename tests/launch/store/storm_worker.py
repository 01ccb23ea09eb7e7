"""A worker whose runs are chains of hashes: any step lost, repeated or mixed up changes the result.

It writes as training does: a line of metrics a step, checkpoints that are whole or absent, and continues from
the newest. STORM_KILLS=p kills the process, with probability p, just before or after each call by which a
file gets its name, its contents their place on disk, or a lease its time stamp.
"""

import functools
import hashlib
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from experiments.files import sync_folder, write_atomic
from launch.store import Store
from launch.workers import worker
from launch.workers.hooks import StopRequested
from launch.workers.trainer import Trainer

CHECKPOINT_STEPS = 4


def chain(config, first: str = "", begin: int = 0):
    """Yields each step with the value after it."""
    value = first
    for step in range(begin, config["n_steps"]):
        value = hashlib.sha256(f"{config['seed']} {step} {value}".encode()).hexdigest()
        yield step + 1, value


def newest_step(out: Path) -> int:
    names = os.listdir(out / "checkpoints") if (out / "checkpoints").is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=0)


def save(out: Path, step: int, value: str) -> None:
    """As orbax does: a folder under another name, then renamed; the one before the last goes."""
    (out / "checkpoints").mkdir(exist_ok=True)
    scratch = out / "checkpoints" / f"{step}.tmp-{os.getpid()}-{time.monotonic_ns()}"
    scratch.mkdir()
    write_atomic(scratch / "value", value)
    if not (out / "checkpoints" / str(step)).exists():
        os.rename(scratch, out / "checkpoints" / str(step))
    sync_folder(out / "checkpoints")
    shutil.rmtree(out / "checkpoints" / str(step - 2 * CHECKPOINT_STEPS), ignore_errors=True)


def train(configs, outs, hooks, shared_prefixes):
    for k, (config, out, hook) in enumerate(zip(configs, outs, hooks)):
        begin = newest_step(out)
        value = saved = (out / "checkpoints" / str(begin) / "value").read_text() if begin else ""
        metrics = out / "metrics.jsonl"
        lines = metrics.read_text().splitlines(keepends=True)[:begin] if begin else []
        write_atomic(metrics, "".join(lines))
        with open(metrics, "a") as file:
            for step, value in chain(config, saved, begin):
                if hook.lost():
                    break
                file.write(f"{step} {value}\n")
                file.flush()
                hook.progress(step, config["n_steps"], 1.0, 1.0)
                time.sleep(config["step_seconds"])
                if (step % CHECKPOINT_STEPS == 0 or hook.should_stop()) and not hook.lost():
                    os.fsync(file.fileno())
                    save(out, step, value)
                if hook.should_stop() and step < config["n_steps"]:
                    raise StopRequested
            else:
                yield k, {"status": "done", "loss": 1.0, "value": value}


def deadly(function, chance: float):
    """The function, in whose calls the process may be killed."""
    draw = random.Random(os.getpid() ^ time.time_ns())

    @functools.wraps(function)
    def call(*arguments, **options):
        if draw.random() < chance:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        if draw.random() < chance:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


if __name__ == "__main__":
    chance = float(os.environ.get("STORM_KILLS", "0"))
    for name in ("link", "fsync", "replace", "rename", "unlink", "utime"):
        setattr(os, name, deadly(getattr(os, name), chance))
    worker.Store = functools.partial(Store, backoff=0.05, ttl=float(os.environ.get("STORM_TTL", "90")))
    sys.exit(worker.main(Trainer(train, newest_step, lambda config: 1)))
