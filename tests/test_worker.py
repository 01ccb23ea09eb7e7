"""The worker: what it claims, what it records, and how it leaves."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from launch import worker
from launch.store import Planned, Store

FAKE = str(Path(__file__).parent / "fake_worker.py")


def planned(k: int, shape: str = "s", flops: float = 1e9, n_steps: int = 20, lr: float = 0.01, seed: int = 0):
    config = {
        "model": {"d_model": 16},
        "optimizer": {"lr": lr},
        "batch_tokens": 10,
        "n_tokens": 10 * n_steps,
        "seed": seed,
    }
    return Planned(f"{k:012x}", "grid", shape, 256, 10 * n_steps, flops, config)


def new_store(folder: Path, runs: list[Planned], **changes) -> Store:
    store = Store(folder, **changes)
    store.create()
    store.add(runs)
    return store


def wait_until(condition, seconds: float = 20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start(folder: Path, *flags: str, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, FAKE, str(folder), *flags], **options)


def steps(store: Store, run_id: str) -> list[int]:
    path = store.run_folder(run_id) / "steps"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_the_own_shape_comes_first_then_one_nobody_is_on_then_the_most_expensive(tmp_path):
    runs = [
        planned(1, "small", flops=1),
        planned(2, "small", flops=2),
        planned(3, "big", flops=9),
        planned(4, "big", flops=8),
        planned(5, "middle", flops=5),
    ]
    store = new_store(tmp_path, runs)
    order = []
    for shape in ("small", "", "big", "small", "small"):
        order.append(worker.claim_next(store, shape).run_id)
    # small: its dearest; a new worker: the dearest of all; big and small: their own; then what is left
    assert order == [runs[k - 1].run_id for k in (2, 3, 4, 1, 5)]
    assert worker.claim_next(store, "small") is None


def test_a_new_worker_takes_a_cheaper_shape_rather_than_one_that_is_being_compiled(tmp_path):
    runs = [planned(1, "big", flops=9), planned(2, "big", flops=8), planned(3, "small", flops=1)]
    store = new_store(tmp_path, runs)
    assert worker.claim_next(store, "").run_id == runs[0].run_id
    assert worker.claim_next(store, "").run_id == runs[2].run_id
    assert worker.claim_next(store, "").run_id == runs[1].run_id


def test_it_trains_all_runs_and_records_results_divergences_and_failures(tmp_path):
    runs = [planned(1), planned(2, lr=2.0), planned(3, seed=13)]
    store = new_store(tmp_path, runs)
    assert start(tmp_path).wait(30) == 0
    a, b, c = (run.run_id for run in runs)
    assert store.states() == {a: "done", b: "diverged", c: "failed"}
    assert store.results()[a]["loss"] == pytest.approx(2.026)
    assert store.errors() == {c: "RuntimeError: seed 13 is unlucky"}
    log = (store.run_folder(c) / "log.txt").read_text()
    assert log.count("Traceback") == store.max_attempts and "unlucky" in log
    assert "done, loss 2.0260" in (store.run_folder(a) / "log.txt").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_makes_it_save_and_give_the_run_back(tmp_path, number):
    store = new_store(tmp_path, [planned(1, n_steps=1000)])
    (run_id,) = store.planned()
    first = start(tmp_path)
    wait_until(lambda: steps(store, run_id))
    first.send_signal(number)
    assert first.wait(10) == 0
    assert store.states() == {run_id: "planned"} and store.errors() == {}
    assert start(tmp_path).wait(30) == 0
    assert store.states() == {run_id: "done"}
    assert steps(store, run_id) == list(range(1000))


def test_it_waits_for_more_runs_until_its_input_ends(tmp_path):
    store = new_store(tmp_path, [planned(1)])
    process = start(tmp_path, "--wait", stdin=subprocess.PIPE)
    wait_until(lambda: set(store.states().values()) == {"done"})
    store.add([planned(2)])
    wait_until(lambda: list(store.states().values()) == ["done", "done"])
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(5) == 0


def test_it_leaves_its_run_when_the_driver_is_killed(tmp_path):
    store = new_store(tmp_path, [planned(1, n_steps=100_000)])
    (run_id,) = store.planned()
    code = "import subprocess, sys, time\n"
    code += "p = subprocess.Popen([sys.executable, *sys.argv[1:], '--wait'], stdin=subprocess.PIPE)\n"
    code += "print(p.pid, flush=True); time.sleep(60)"
    driver = subprocess.Popen(
        [sys.executable, "-c", code, FAKE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    driver.stdout.readline()
    wait_until(lambda: steps(store, run_id))
    driver.kill()
    driver.wait()
    wait_until(lambda: store.states() == {run_id: "planned"})


def test_progress_is_shown_while_it_runs(tmp_path):
    store = new_store(tmp_path, [planned(1, n_steps=1000)])
    (run_id,) = store.planned()
    process = start(tmp_path)
    wait_until(lambda: store.progress(run_id).get("step", 0) > 50)
    assert store.progress(run_id)["n_steps"] == 1000
    assert process.wait(20) == 0
    assert store.progress(run_id) == {}


def test_a_worker_that_slept_past_its_lease_stops_without_a_trace(tmp_path):
    store = new_store(tmp_path, [planned(1, n_steps=20_000)], ttl=1.0)
    (run_id,) = store.planned()
    sleeper = start(tmp_path)
    wait_until(lambda: len(steps(store, run_id)) > 10)
    sleeper.send_signal(signal.SIGSTOP)
    wait_until(lambda: store.states() == {run_id: "planned"}, 5)
    lease = store.claim(run_id)
    count = len(steps(store, run_id))
    sleeper.send_signal(signal.SIGCONT)
    assert sleeper.wait(10) == 0  # nothing is left for it
    assert len(steps(store, run_id)) <= count + 1  # the step it was in
    assert store.states() == {run_id: "running"} and store.errors() == {}
    assert "another worker has taken this run over" in (store.run_folder(run_id) / "log.txt").read_text()
    assert store.finish(lease, {"status": "done", "loss": 1.0})


def test_the_heartbeat_keeps_a_long_run_and_ends_with_it(tmp_path):
    store = new_store(tmp_path, [planned(1)], ttl=0.3)
    (run_id,) = store.planned()
    other = Store(tmp_path, ttl=0.3)

    def job(config, out, hooks):
        for _ in range(10):
            time.sleep(0.1)
            assert other.claim(run_id) is None
        raise worker.Stopped

    worker.run_one(store, store.claim(run_id), store.planned()[run_id], job, threading.Event())
    assert other.states() == {run_id: "planned"}
    time.sleep(0.3)
    assert (store.root / "lease" / f"{run_id}.1").stat().st_mtime == 0


def test_a_full_disk_blames_no_run(tmp_path):
    store = new_store(tmp_path, [planned(1)])
    (run_id,) = store.planned()

    def job(config, out, hooks):
        raise RuntimeError("write failed: No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        worker.work(store, job, threading.Event())
    assert store.states() == {run_id: "planned"} and store.errors() == {}


def test_output_of_libraries_lands_in_the_run_log(tmp_path):
    store = new_store(tmp_path, [planned(1)])
    (run_id,) = store.planned()
    code = """
import os, sys
from launch import worker
def job(config, out, hooks):
    print("from python")
    os.write(2, b"from compiled code")
    return {"status": "done", "loss": 1.0}
worker.main(job)
print("after the run")
"""
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    log = (store.run_folder(run_id) / "log.txt").read_text()
    assert "from python" in log and "from compiled code" in log and "after" not in log
    assert (ran.stdout, ran.stderr) == ("after the run\n", "")


def test_the_process_is_pinned_and_the_cache_named_before_jax(tmp_path):
    core = min(os.sched_getaffinity(0))
    code = "import json, os, sys; from launch import worker; worker.prepare_process(sys.argv[1])\n"
    code += "loaded = 'jax' in sys.modules; import jax\n"
    code += "c = jax.config; print(json.dumps([loaded, list(os.sched_getaffinity(0)), "
    code += "c.jax_compilation_cache_dir, c.jax_persistent_cache_min_compile_time_secs]))"
    environment = os.environ | {"ISOFLOP_CACHE": str(tmp_path)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    printed = subprocess.run(
        [sys.executable, "-c", code, str(core)], env=environment, capture_output=True, check=True, text=True
    ).stdout
    assert json.loads(printed) == [False, [core], str(tmp_path / "xla"), 0]
