"""Workers that are killed and frozen at any moment: each run has one result, that of an undisturbed study."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.store import PlannedRun, Store
from tests.launch.store.storm_worker import chain

WORKER = [sys.executable, "-m", "tests.launch.store.storm_worker"]
ROOT = Path(__file__).parents[3]


def new_store(folder: Path, n_runs: int, n_steps: int, step_seconds: float, **changes) -> Store:
    store = Store(folder, **changes)
    store.create()
    configs = [{"seed": k, "n_steps": n_steps, "step_seconds": step_seconds} for k in range(n_runs)]
    store.plan.add(
        [PlannedRun(f"{k:012x}", "grid", "s", 1, 1, 1.0, config) for k, config in enumerate(configs)]
    )
    return store


def start(store: Store, **environment: str) -> subprocess.Popen:
    return subprocess.Popen([*WORKER, str(store.folder)], cwd=ROOT, env=os.environ | environment)


def check_undisturbed(store: Store) -> None:
    """Results, metrics and newest checkpoints are those of runs that nobody disturbed."""
    assert set(store.states().values()) == {"done"} and store.results().keys() == store.plan.runs().keys()
    for run_id, run in store.plan.runs().items():
        expected = list(chain(run.config))
        step, value = expected[-1]
        assert store.results()[run_id]["value"] == value
        assert json.loads((store.run_folder(run_id) / "result.json").read_text())["value"] == value
        lines = (store.run_folder(run_id) / "metrics.jsonl").read_text().splitlines()
        assert lines == [f"{step} {value}" for step, value in expected]
        assert (store.run_folder(run_id) / "checkpoints" / str(step) / "value").read_text() == value


@pytest.mark.parametrize("n_runs, most_kills", [(40, 8), pytest.param(200, 100, marks=pytest.mark.slow)])
def test_a_storm_of_kills_leaves_every_run_with_the_result_of_an_undisturbed_study(
    tmp_path, n_runs, most_kills
):
    store, draw = new_store(tmp_path, n_runs, n_steps=12, step_seconds=0.02), random.Random(0)
    workers = [start(store, STORM_KILLS="0.003") for _ in range(4)]
    n_kills, deadline = 0, time.monotonic() + 300
    while any(worker.poll() != 0 for worker in workers):
        assert time.monotonic() < deadline
        for k, worker in enumerate(workers):
            if worker.poll() not in (None, 0):
                assert worker.poll() == -signal.SIGKILL
                n_kills += 1
                workers[k] = start(store, STORM_KILLS="0.003" if n_kills < most_kills else "0")
        if n_kills < most_kills:
            time.sleep(0.2 * draw.random())
            if n_runs == 200 or "running" in store.states().values():  # few kills fall while they work
                draw.choice(workers).kill()
        else:
            time.sleep(0.05)
    assert n_kills >= most_kills
    check_undisturbed(store)
    leases = sorted(os.listdir(store.root / "lease"))
    assert n_runs < len(leases) <= n_runs + n_kills + len(os.listdir(store.root / "failed"))
    assert len(os.listdir(store.root / "done")) == n_runs


def test_a_frozen_worker_does_no_harm_when_it_thaws(tmp_path):
    store = new_store(tmp_path, n_runs=2, n_steps=40, step_seconds=0.02, ttl=1.0)
    frozen = start(store, STORM_TTL="1.0")
    while not (progress := [r for r in store.plan.runs() if store.progress(r).get("step", 0) > 4]):
        time.sleep(0.01)
    frozen.send_signal(signal.SIGSTOP)
    (run_id,) = progress
    while store.states()[run_id] != "planned":
        time.sleep(0.05)
    assert start(store, STORM_TTL="1.0").wait(60) == 0
    check_undisturbed(store)
    before = {
        path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "log.txt"
    }
    frozen.send_signal(signal.SIGCONT)
    assert frozen.wait(20) == 0
    after = {
        path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "log.txt"
    }
    assert after == before
    assert "another worker" in (store.run_folder(run_id) / "log.txt").read_text()


@pytest.mark.slow
def test_real_training_survives_kills_with_the_bits_of_undisturbed_runs(tmp_path):
    from experiments.config import RunConfig
    from experiments.fields import from_json
    from launch.driver.stages import planned_run
    from tests.tiny_run import make_study

    made = make_study(tmp_path / "made", tmp_path / "cache")
    manifest = tmp_path / "cache" / "docstrings-tiny" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"source": {}, "licence": "none"}))
    values = json.loads((made / "config.json").read_text()) | {"n_tokens": 64 * 300, "n_val_tokens": 320}
    runs = [planned_run("grid", from_json(RunConfig, values | {"seed": seed})) for seed in range(4)]
    stores = []
    for name in ("calm", "storm"):
        stores.append(store := Store(tmp_path / name))
        store.create()
        store.plan.add(runs)
    command = [sys.executable, "-m", "launch.workers.worker"]
    environment = os.environ | {"ISOFLOP_CACHE": str(tmp_path / "cache")}
    calm, storm = stores
    assert subprocess.run([*command, str(calm.folder)], cwd=ROOT, env=environment).returncode == 0
    draw = random.Random(1)
    for _ in range(4):
        worker = subprocess.Popen([*command, str(storm.folder)], cwd=ROOT, env=environment)
        while worker.poll() is None and "running" not in storm.states().values():
            time.sleep(0.02)
        time.sleep(draw.random())
        worker.kill()
        worker.wait()
    assert subprocess.run([*command, str(storm.folder)], cwd=ROOT, env=environment).returncode == 0
    assert set(storm.states().values()) == {"done"}
    for run in runs:
        of_both = [store.run_folder(run.run_id) / "metrics.jsonl" for store in stores]
        assert of_both[0].read_bytes() == of_both[1].read_bytes()
        rows = [store.results()[run.run_id] for store in stores]
        assert rows[0]["loss"] == rows[1]["loss"] and rows[0]["n_steps"] == 300
