"""One run trained by two processes: the numbers of one process, one record, and back after a kill."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.training import metrics
from experiments.training.checkpoints.checkpoint import newest_step
from experiments.training.checkpoints.load import load
from tests.tiny_run import make_training_cache

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    """Below those that the system hands out to whoever asks for any."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("localhost", port))
            return port


def start(folder: Path, cache: str, n_processes: int) -> list[subprocess.Popen]:
    port = free_port()
    environment = os.environ | {"ISOFLOP_CACHE": cache, "JAX_PLATFORMS": "cpu"}
    return [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.experiments.training.two_processes",
                str(folder),
                str(port),
                str(i),
                str(n_processes),
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(n_processes)
    ]


def rows(processes: list[subprocess.Popen]) -> list[dict]:
    """What they print at the end, when all have ended well."""
    said = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [json.loads(text.splitlines()[-1]) for text in said]


COORDINATION = """
import sys, jax
from experiments.training.processes import all_gather, coordination_client, is_primary
try:
    coordination_client()
except ValueError as error:
    print(str(error).partition(";")[0])
jax.distributed.initialize(f"localhost:{sys.argv[1]}", num_processes=1, process_id=0)
client = coordination_client()
client.key_value_set("isoflop/test", "said")
client.wait_at_barrier("isoflop/barrier", 1000)
numbers = all_gather(jax.numpy.arange(2)).tolist()
print(client.blocking_key_value_get("isoflop/test", 1000), is_primary(), numbers)
"""


def test_the_coordination_service_is_reached_without_private_modules():
    """As launch/workers/hosts.py needs it; in a process of its own, which joins itself."""
    command = [sys.executable, "-c", COORDINATION, str(free_port())]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["Distributed system is not available", "said True [[0, 1]]"]


@pytest.mark.slow
def test_two_processes_train_what_one_does_also_after_a_kill(tmp_path):
    cache = make_training_cache(tmp_path / "cache")
    (alone,) = rows(start(tmp_path / "one", cache, 1))
    run = alone["run_id"]

    pair = start(tmp_path / "two", cache, 2)
    while newest_step(tmp_path / "two" / run) < 20:
        assert pair[0].stdout.readline(), "it ended before it was killed"
    pair[1].send_signal(signal.SIGKILL)
    pair[0].kill()  # as what started them does when one is lost
    for process in pair:
        process.communicate()
    begun = newest_step(tmp_path / "two" / run)
    first, second = rows(start(tmp_path / "two", cache, 2))

    assert 20 <= begun < 120 and first["n_devices"] == 4 and first["status"] == "done"
    assert first["loss"] == second["loss"] == pytest.approx(alone["loss"], rel=1e-6)
    ours, theirs = (metrics.read(tmp_path / name / run / "metrics.jsonl") for name in ("two", "one"))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, like in zip(ours, theirs):
        assert line == pytest.approx(like, rel=1e-5)
    trained = [load(tmp_path / name / run)[1] for name in ("two", "one")]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5 * np.abs(y).max()), *trained)
    points = [[path.name for path in (tmp_path / name).glob("trunks/*/*")] for name in ("two", "one")]
    assert points == [["84"]] * 2
