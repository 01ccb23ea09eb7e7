"""Real multihost workers: two processes of two virtual CPU devices each, by the worker's own command, against
one process of four devices."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.training import metrics
from experiments.training.checkpoints.checkpoint import newest_step
from launch.driver.stages import planned_run
from launch.store import Store
from launch.workers.hosts import LOST_SECONDS
from launch.workers.process import WORK_LEFT
from models import ladder
from tests.launch.backends.slurm.cluster import cluster, missing
from tests.tiny_run import make_cache

BATCH, SEQ_LEN, STEPS = 8, 16, 100
PATIENCE = 300  # seconds that a busy machine may need


@pytest.fixture
def cache(tmp_path):
    """A cache root and the fingerprint of what is in it."""
    folder = tmp_path / "cache" / "docstrings-tiny"
    fingerprint = make_cache(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"source": {}, "licence": ""}))
    return tmp_path / "cache", fingerprint


def make_study(folder: Path, fingerprint: str, **changes) -> tuple[Store, str]:
    """A study with one run."""
    options = {"batch_tokens": BATCH * SEQ_LEN, "n_tokens": BATCH * SEQ_LEN * STEPS} | changes
    config = RunConfig(
        model=ladder(32, 264),
        data=DataConfig(fingerprint=fingerprint, vocab_size=264),
        optimizer=OptimizerConfig(lr=0.01, eps=1e-3),
        schedule=ScheduleConfig(),
        seq_len=SEQ_LEN,
        n_val_tokens=160,
        **options,
    )
    store = Store(folder)
    store.create()
    store.plan.add([planned_run("grid", config)])
    return store, config.run_id


def start(store: Store, cache: Path, n_hosts: int, index: int = 0, port: int = 0) -> subprocess.Popen:
    """One of several hosts that have four devices in all."""
    environment = os.environ | {
        "ISOFLOP_CACHE": str(cache),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(4 // n_hosts),
    }
    if n_hosts > 1:
        environment |= {
            "ISOFLOP_COORDINATOR": f"127.0.0.1:{port}",
            "ISOFLOP_HOSTS": str(n_hosts),
            "ISOFLOP_HOST": str(index),
        }
    command = [sys.executable, "-m", "launch.workers.worker", str(store.folder), "--hosts"]
    with open(store.folder / f"host{index}.log", "ab") as log:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def start_both(store: Store, cache: Path) -> list[subprocess.Popen]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [start(store, cache, 2, index, port) for index in range(2)]


def wait_for_step(store: Store, run_id: str, step: int, hosts: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + PATIENCE
    while store.progress(run_id).get("step", 0) < step:
        assert time.monotonic() < deadline and all(host.poll() is None for host in hosts)
        time.sleep(0.02)


@pytest.fixture
def hosts():
    """Processes that must not outlive the test."""
    started: list[subprocess.Popen] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_several_hosts_train_what_one_process_does_and_survives_the_loss_of_each_host(tmp_path, cache, hosts):
    root, fingerprint = cache
    alone, run_id = make_study(tmp_path / "alone", fingerprint)
    hosts.append(start(alone, root, 1))
    assert hosts[-1].wait(PATIENCE) == 0
    store, _ = make_study(tmp_path / "multihost", fingerprint)

    # One host is asked to leave: all save the run and leave.
    pair = start_both(store, root)
    hosts += pair
    wait_for_step(store, run_id, 10, pair)
    pair[1].terminate()
    assert [host.wait(PATIENCE) for host in pair] == [WORK_LEFT, WORK_LEFT]
    saved = newest_step(store.run_folder(run_id))
    assert 10 <= saved < STEPS and store.states()[run_id] == "planned"

    # One host is killed, then, after all began again, the other.
    for victim in (1, 0):
        pair = start_both(store, root)
        hosts += pair
        (store.root / "progress" / run_id).unlink(missing_ok=True)
        wait_for_step(store, run_id, saved + 1, pair)
        pair[victim].kill()
        code = pair[1 - victim].wait(LOST_SECONDS + 15)
        # Of host 0, whose end closes the connection, jax may tell first: it aborts.
        assert code == WORK_LEFT or (victim == 0 and code == -signal.SIGABRT)
        assert store.states()[run_id] != "done" and not store.snapshot().attempts

    pair = start_both(store, root)
    hosts += pair
    assert [host.wait(PATIENCE) for host in pair] == [0, 0]
    together, reference = store.results()[run_id], alone.results()[run_id]
    assert (together["n_devices"], reference["n_devices"]) == (4, 4)
    assert together["loss"] == pytest.approx(reference["loss"], rel=1e-5)
    curves = [metrics.read(each.run_folder(run_id) / "metrics.jsonl") for each in (store, alone)]
    assert [line["step"] for line in curves[0]] == [line["step"] for line in curves[1]]
    losses = [[line["train_loss"] for line in curve if "train_loss" in line] for curve in curves]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.slow
def test_a_run_that_no_hosts_can_train_fails_and_they_go_on(tmp_path, cache, hosts):
    root, fingerprint = cache
    store, run_id = make_study(
        tmp_path / "study", fingerprint, batch_tokens=6 * SEQ_LEN, n_tokens=600 * SEQ_LEN
    )
    pair = start_both(store, root)
    hosts += pair
    deadline = time.monotonic() + PATIENCE
    while not store.snapshot().attempts:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "share the rows of a batch, and it has 6" in store.error(run_id, 1)
    assert [host.poll() for host in pair] == [None, None]


@pytest.mark.slow
def test_the_tasks_of_an_srun_are_one_multihost_worker(tmp_path, cache):
    if lacking := missing():
        words = f"no {', '.join(lacking)} here"
        if os.environ.get("ISOFLOP_TEST_SLURM") == "1" or os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    root, fingerprint = cache
    store, run_id = make_study(tmp_path / "study", fingerprint, n_tokens=BATCH * SEQ_LEN * 10)
    command = ["srun", "--ntasks=2", "--kill-on-bad-exit=1", "--export=ALL"]
    with cluster(cpus=2) as environment:
        variables = {"ISOFLOP_CACHE": str(root), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
        worker = [sys.executable, "-m", "launch.workers.worker", str(store.folder), "--hosts"]
        subprocess.run(command + worker, env=environment | variables, check=True, timeout=PATIENCE)
    result = store.results()[run_id]
    assert (result["status"], result["n_devices"]) == ("done", 4)
