"""The pool: who gets which part of the machine, and what happens when workers die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.store import PlannedRun, Store
from launch.workers import pool as pool_module
from launch.workers.pool import WorkerPool, WorkersFailed, WorkerSlot, machine_slots, sized, whole_machine

FAKE = (sys.executable, str(Path(__file__).parents[1] / "fake_worker.py"))


def planned(k: int, n_steps: int = 20, seed: int = 0) -> PlannedRun:
    config = {"model": {"d_model": 16}, "optimizer": {"lr": 0.01}, "batch_tokens": 10, "seed": seed}
    return PlannedRun(f"{k:012x}", "grid", "s", 256, 10 * n_steps, 1e9, config | {"n_tokens": 10 * n_steps})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.create()
    return store


@pytest.fixture
def pool(tmp_path):
    pool = WorkerPool(tmp_path, command=FAKE)
    yield pool
    pool.stop()


def watch(store: Store, pool: WorkerPool, until, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        pool.check(len(store.results()))
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def machine(monkeypatch):
    """Four cores, no GPU, no quota; the test may change them."""
    found = {"cores": {2, 3, 6, 7}, "gpus": [], "quota": sys.maxsize}
    monkeypatch.setattr(pool_module.os, "sched_getaffinity", lambda _: found["cores"])
    monkeypatch.setattr(pool_module, "_gpus", lambda: found["gpus"])
    monkeypatch.setattr(pool_module, "_cpu_quota", lambda: found["quota"])
    return found


def test_every_core_gets_a_worker(machine):
    assert [slot.cores for slot in machine_slots()] == [(2,), (3,), (6,), (7,)]
    assert [slot.cores for slot in whole_machine()] == [(2, 3, 6, 7)]


def test_few_workers_share_all_cores_and_many_share_each(machine):
    assert [slot.cores for slot in machine_slots(2)] == [(2, 6), (3, 7)]
    assert [slot.cores for slot in machine_slots(6)] == [(2,), (3,), (6,), (7,), (2,), (3,)]
    assert len({slot.name for slot in machine_slots(6)}) == 6


def test_fewer_runs_than_cores_get_more_cores_each(machine):
    slots = machine_slots()
    assert sized(slots, 4) == sized(slots, 9) == slots
    assert [slot.cores for slot in sized(slots, 2)] == [(2, 6), (3, 7)]
    assert [slot.cores for slot in sized(slots, 1)] == [(2, 3, 6, 7)]
    assert sized([], 1) == []
    machine["gpus"] = ["0", "1"]
    assert sized(machine_slots(), 1) == [WorkerSlot("gpu0", gpu="0")]


def test_a_container_quota_limits_the_cores(machine):
    machine["quota"] = 2
    cores = [slot.cores for slot in machine_slots()]
    assert len(cores) == 2 and all(len(own) == 1 for own in cores)
    assert len(whole_machine()[0].cores) == 2


def test_every_gpu_gets_a_worker(machine):
    machine["gpus"] = ["0", "1"]
    assert machine_slots() == [WorkerSlot("gpu0", gpu="0"), WorkerSlot("gpu1", gpu="1")]


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"CUDA_VISIBLE_DEVICES": "1,3"}, ["1", "3"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": "cpu"}, []),
    ],
)
def test_gpus_are_those_that_the_environment_leaves(monkeypatch, environment, expected):
    monkeypatch.setattr(pool_module.importlib.util, "find_spec", lambda name: name == "jax_cuda13_plugin")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert pool_module._gpus() == expected


def test_no_gpu_without_a_jax_that_uses_it(monkeypatch):
    monkeypatch.setattr(pool_module.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert pool_module._gpus() == []


def test_workers_live_through_stages_and_are_exchanged_for_one(store, pool):
    narrow = [WorkerSlot("a"), WorkerSlot("b")]
    store.plan.add([planned(k) for k in range(6)])
    pool.use(narrow)
    watch(store, pool, lambda: len(store.results()) == 6)
    before = dict(pool._workers)
    store.plan.add([planned(7)])
    pool.use(narrow)
    watch(store, pool, lambda: len(store.results()) == 7)
    assert pool._workers == before
    pool.use([WorkerSlot("all")])
    store.plan.add([planned(8)])
    watch(store, pool, lambda: len(store.results()) == 8)
    watch(store, pool, lambda: not pool._leaving)
    assert [worker.wait(5) for worker in before.values()] == [0, 0]


def test_a_killed_worker_is_replaced_and_its_run_continued(store, pool):
    store.plan.add([planned(1, n_steps=600)])
    (run_id,) = store.plan.runs()
    steps = store.run_folder(run_id) / "steps"
    pool.use([WorkerSlot("a")])
    watch(store, pool, steps.exists)
    os.kill(pool._workers[WorkerSlot("a")].pid, signal.SIGKILL)
    watch(store, pool, lambda: store.results())
    assert [int(line) for line in steps.read_text().split()] == list(range(600))


def test_workers_that_die_without_end_are_given_up(store, pool):
    store.plan.add([planned(1, seed=14), planned(2)])
    pool.use([WorkerSlot("a")])
    with pytest.raises(WorkersFailed, match=r"worker a died 3 times .* with exit code 9; see .*worker-a.log"):
        watch(store, pool, lambda: len(store.results()) == 2)


def test_stop_makes_workers_give_their_runs_back(store, pool):
    store.plan.add([planned(1, n_steps=100_000)])
    (run_id,) = store.plan.runs()
    pool.use([WorkerSlot("a")])
    watch(store, pool, (store.run_folder(run_id) / "steps").exists)
    started = time.monotonic()
    pool.stop()
    assert time.monotonic() - started < 5
    assert store.states() == {run_id: "planned"}


def test_a_worker_that_does_not_leave_is_killed(store, pool, monkeypatch):
    store.plan.add([planned(1, n_steps=100_000)])
    (run_id,) = store.plan.runs()
    pool.use([WorkerSlot("a")])
    watch(store, pool, (store.run_folder(run_id) / "steps").exists)
    monkeypatch.setattr(pool_module, "GRACE_SECONDS", 0.2)
    os.kill(pool._workers[WorkerSlot("a")].pid, signal.SIGSTOP)
    pool.stop()
    assert store.states() == {run_id: "planned"}


def test_a_folder_that_cannot_be_written_is_said_so(store, pool, monkeypatch):
    monkeypatch.setattr(
        pool, "command", (sys.executable, "-c", f"raise SystemExit({pool_module.STORAGE_FAILED})")
    )

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pool_module, "write_atomic", full)
    pool.use([WorkerSlot("a")])
    with pytest.raises(OSError, match="No space left on device"):
        watch(store, pool, lambda: False, 5)
    monkeypatch.setattr(pool_module, "write_atomic", lambda path, _: path.touch())  # a run's folder alone
    with pytest.raises(OSError, match=r"^a worker could not write; see .*worker-a.log$"):
        watch(store, pool, lambda: False, 5)


def test_what_the_working_directory_has_is_not_taken_for_our_packages(tmp_path):
    """An empty folder is a package to Python."""
    for name in ("models", "scaling", "launch"):
        (tmp_path / name).mkdir()
    (tmp_path / "experiments.py").write_text("raise SystemExit(77)")
    ran = subprocess.run([*pool_module.WORKER, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout.startswith("usage: "), ran.stderr
