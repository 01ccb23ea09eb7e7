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

from launch.monitor import display
from launch.store import PlannedRun, Store
from launch.store.claims import Claimed
from launch.workers import work_loop
from launch.workers.hooks import STOP_SECONDS, StopRequested, WorkerHooks
from launch.workers.process import STORAGE_FAILED, WORK_LEFT
from launch.workers.trainer import Trainer

FAKE = str(Path(__file__).parents[1] / "fake_worker.py")


def planned(
    k: int,
    shape: str = "s",
    flops: float = 1e9,
    n_steps: int = 20,
    lr: float = 0.01,
    seed: int = 0,
    pack: str = "",
):
    config = {
        "model": {"d_model": 16},
        "optimizer": {"lr": lr},
        "batch_tokens": 10,
        "n_tokens": 10 * n_steps,
        "seed": seed,
    }
    return PlannedRun(f"{k:012x}", "grid", shape, 256, 10 * n_steps, flops, config, pack)


def new_store(folder: Path, runs: list[PlannedRun], **changes) -> Store:
    store = Store(folder, **({"backoff": 0.05} | changes))
    store.create()
    store.plan.add(runs)
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


def test_it_trains_all_runs_and_records_results_divergences_and_failures(tmp_path):
    runs = [planned(1), planned(2, lr=2.0), planned(3, seed=13)]
    store = new_store(tmp_path, runs)
    assert start(tmp_path).wait(30) == 0
    a, b, c = (run.run_id for run in runs)
    assert store.states() == {a: "done", b: "diverged", c: "failed"}
    assert store.results()[a]["loss"] == pytest.approx(2.026)
    assert store.error(c, 3) == "RuntimeError: seed 13 is unlucky"
    log = (store.run_folder(c) / "log.txt").read_text()
    assert log.count("Traceback") == store.max_attempts and "unlucky" in log
    assert "done, loss 2.0260" in (store.run_folder(a) / "log.txt").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_makes_it_save_and_give_the_run_back(tmp_path, number):
    store = new_store(tmp_path, [planned(1, n_steps=1000)])
    (run_id,) = store.plan.runs()
    first = start(tmp_path)
    wait_until(lambda: steps(store, run_id))
    first.send_signal(number)
    assert first.wait(10) == 0
    assert store.states() == {run_id: "planned"} and store.snapshot().attempts == {}
    assert start(tmp_path).wait(30) == 0
    assert store.states() == {run_id: "done"}
    assert steps(store, run_id) == list(range(1000))


def test_it_waits_for_more_runs_until_its_input_ends(tmp_path):
    store = new_store(tmp_path, [planned(1)])
    process = start(tmp_path, "--wait", stdin=subprocess.PIPE)
    wait_until(lambda: set(store.states().values()) == {"done"})
    store.plan.add([planned(2)])
    wait_until(lambda: list(store.states().values()) == ["done", "done"])
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(5) == 0


def test_it_leaves_its_run_when_the_driver_is_killed(tmp_path):
    store = new_store(tmp_path, [planned(1, n_steps=100_000)])
    (run_id,) = store.plan.runs()
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
    assert 0 < len(steps(store, run_id)) < 100_000 and store.snapshot().attempts == {}


def test_progress_is_shown_while_it_runs(tmp_path):
    store = new_store(tmp_path, [planned(1, n_steps=1000)])
    (run_id,) = store.plan.runs()
    process = start(tmp_path)
    wait_until(lambda: store.progress(run_id).get("step", 0) > 50)
    assert store.progress(run_id)["n_steps"] == 1000
    assert process.wait(20) == 0
    assert store.progress(run_id) == {}


def test_a_worker_that_slept_past_its_lease_stops_without_a_trace(tmp_path):
    store = new_store(tmp_path, [planned(1, n_steps=20_000)], ttl=1.0)
    (run_id,) = store.plan.runs()
    sleeper = start(tmp_path)
    wait_until(lambda: len(steps(store, run_id)) > 10)
    sleeper.send_signal(signal.SIGSTOP)
    wait_until(lambda: store.states() == {run_id: "planned"}, 5)
    lease = store.claim(run_id)
    store.report_progress(lease, {"step": 1})
    count = len(steps(store, run_id))
    sleeper.send_signal(signal.SIGCONT)
    assert sleeper.wait(10) == 0  # nothing is left for it
    # One more, if it was stopped between its look at the lease and the step.
    assert len(steps(store, run_id)) <= count + 1 and store.progress(run_id) == {"step": 1}
    assert store.states() == {run_id: "running"} and store.snapshot().attempts == {}
    assert "another worker has taken this run over" in (store.run_folder(run_id) / "log.txt").read_text()
    assert store.finish(lease, {"status": "done", "loss": 1.0})


def test_a_large_pack_looks_at_each_run_more_rarely(tmp_path, monkeypatch):
    store = new_store(tmp_path, [planned(1)])
    (run_id,) = store.plan.runs()
    lease, now = store.claim(run_id), [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    for n_packed, seconds in ((1, 0.5), (8, 0.5), (64, 4.0)):
        hooks = WorkerHooks(store, lease, threading.Event(), n_packed)
        assert not hooks.lost()
        store.cancel([run_id])
        now[0] += seconds - 0.1
        assert not hooks.lost()  # as it was when it last looked
        now[0] += 0.2
        assert hooks.lost()
        store.retry([run_id])
        assert hooks.lost()  # once given up, for good


def claimed(store: Store) -> list[Claimed]:
    return [Claimed(run, lease) for run in store.plan.runs().values() if (lease := store.claim(run.run_id))]


def trainer(train) -> Trainer:
    return Trainer(train, newest_step=lambda out: 0, pack_size=lambda config: 1)


def test_the_heartbeat_keeps_long_runs_and_ends_with_them(tmp_path):
    store = new_store(tmp_path, [planned(1), planned(2)], ttl=0.3)
    other = Store(tmp_path, ttl=0.3)

    def train(configs, outs, hooks, shared_prefixes):
        for _ in range(10):
            time.sleep(0.1)
            assert not any(other.claim(run_id) for run_id in store.plan.runs())
        yield 0, {"status": "done", "loss": 1.0}
        raise StopRequested

    work_loop.train_together(store, claimed(store), trainer(train), threading.Event())
    a, b = store.plan.runs()
    assert other.states() == {a: "done", b: "planned"}
    time.sleep(0.3)
    assert (store.root / "lease" / f"{b}.1").stat().st_mtime == 0


def test_a_step_that_takes_too_long_is_given_up_with_the_lease_back(tmp_path):
    store = new_store(tmp_path, [planned(1, seed=15)])
    (run_id,) = store.plan.runs()
    process = start(tmp_path, env=os.environ | {"FAKE_STOP_SECONDS": "1"})
    wait_until(lambda: steps(store, run_id))
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0 and 1 < time.monotonic() - began < 5
    assert (store.root / "lease" / f"{run_id}.1").stat().st_mtime == 0
    assert store.states() == {run_id: "planned"} and steps(store, run_id) == [0]
    assert STOP_SECONDS <= 20  # as documented


def test_it_leaves_before_its_time_is_over_and_says_whether_work_is_left(tmp_path):
    store = new_store(tmp_path, [planned(1, n_steps=100_000)])
    began = time.monotonic()
    assert start(tmp_path, "--seconds", "4").wait(20) == WORK_LEFT == 75
    assert time.monotonic() - began < 4
    assert list(store.states().values()) == ["planned"] and store.snapshot().attempts == {}
    (run_id,) = store.plan.runs()
    assert store.progress(run_id)["step"] > 100
    store.cancel([run_id])
    assert start(tmp_path, "--seconds", "30").wait(20) == 0


def test_a_worker_told_to_wait_leaves_when_the_study_is_finished(tmp_path):
    store = new_store(tmp_path, [planned(1)])
    process = start(tmp_path, "--wait", stdin=subprocess.DEVNULL)
    wait_until(lambda: list(store.states().values()) == ["done"])
    time.sleep(0.3)
    assert process.poll() is None
    store.finished.write_text("all is done")
    assert process.wait(5) == 0


def test_a_worker_told_to_wait_and_then_to_leave_says_that_work_may_be_left(tmp_path):
    """Its exit code makes a scheduler start another one, even where no run is planned just now."""
    store = new_store(tmp_path, [planned(1)])
    process = start(tmp_path, "--wait", stdin=subprocess.DEVNULL)
    wait_until(lambda: list(store.states().values()) == ["done"])
    process.terminate()
    assert process.wait(5) == WORK_LEFT


def test_a_cancelled_run_is_left_and_its_neighbours_go_on(tmp_path):
    runs = [planned(k, n_steps=3000, pack="p") for k in (1, 2)]
    store = new_store(tmp_path, runs)
    a, b = store.plan.runs()
    process = start(tmp_path, "--pack", "2")
    wait_until(lambda: steps(store, a))
    store.cancel([a])
    assert process.wait(30) == 0
    assert store.states() == {a: "cancelled", b: "done"}
    assert 0 < len(steps(store, a)) < 3000 and steps(store, b) == list(range(3000))
    store.retry([a])
    assert start(tmp_path).wait(30) == 0
    assert steps(store, a) == list(range(3000))


def test_a_pack_that_fails_is_tried_again_one_by_one(tmp_path):
    runs = [planned(k, pack="p", seed=13 if k == 2 else 0) for k in range(5)]
    store = new_store(tmp_path, runs)
    assert start(tmp_path, "--pack", "5").wait(30) == 0
    assert list(store.states().values()) == ["done"] * 2 + ["failed"] + ["done"] * 2
    logs = [(store.run_folder(run_id) / "log.txt").read_text() for run_id in store.plan.runs()]
    assert [log.count("attempt") for log in logs] == [2, 2, 3, 2, 2]
    assert all("unlucky" in log for log in logs)  # each log tells of its own failures
    assert [log.count("with 4 others") for log in logs] == [1] * 5


def test_a_run_that_kills_its_workers_fails_for_good(tmp_path):
    store = new_store(tmp_path, [planned(1, seed=14)])
    (run_id,) = store.plan.runs()
    for _ in range(work_loop.MOST_DEATHS):
        assert start(tmp_path).wait(20) == 9
    process = start(tmp_path)
    wait_until(lambda: store.snapshot().attempts == {run_id: 1})
    assert "died 3 times in a row" in store.error(run_id, 1)
    process.wait(20)


def test_a_run_whose_workers_die_but_leave_checkpoints_is_finished(tmp_path):
    n_steps = work_loop.MOST_DEATHS + 1
    store = new_store(tmp_path, [planned(1, seed=16, n_steps=n_steps)])
    assert [start(tmp_path).wait(20) for _ in range(n_steps)] == [9] * n_steps
    assert start(tmp_path).wait(20) == 0
    assert list(store.states().values()) == ["done"] and not store.snapshot().attempts


def test_a_full_disk_blames_no_run(tmp_path):
    store = new_store(tmp_path, [planned(1), planned(2)])

    def train(configs, outs, hooks, shared_prefixes):
        raise RuntimeError("write failed: No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        work_loop.work(store, trainer(train), threading.Event())
    assert set(store.states().values()) == {"planned"} and store.snapshot().attempts == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_a_folder_that_became_read_only_stops_the_worker_and_loses_nothing(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not permitted")
    try:
        store = new_store(tmp_path / "x", [planned(1), planned(2, n_steps=100)])
        a, b = store.plan.runs()
        store.finish(store.claim(a), {"status": "done", "loss": 1.0})
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        process = start(store.folder, stderr=subprocess.PIPE, text=True)
        assert "Read-only file system" in process.communicate(timeout=20)[1]
        assert process.returncode == STORAGE_FAILED
        assert Store(store.folder).states() == {a: "done", b: "planned"}  # can still be read
        subprocess.run(["mount", "-o", "remount,rw", str(tmp_path)], check=True)
        assert start(store.folder).wait(20) == 0
        assert store.states() == {a: "done", b: "done"} and store.result(a)["loss"] == 1.0
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_training_that_gives_no_result_is_a_failed_attempt_and_not_tried_for_ever(tmp_path):
    store = new_store(tmp_path, [planned(1)])
    (run_id,) = store.plan.runs()
    work_loop.work(store, trainer(lambda *_: iter(())), threading.Event())
    assert store.states() == {run_id: "failed"}
    assert (store.run_folder(run_id) / "log.txt").read_text().count("ended without a result") == 3


def test_packs_leave_every_worker_its_share(tmp_path):
    store = new_store(tmp_path, [planned(k, pack="p") for k in range(10)])
    sizes = []

    def train(configs, outs, hooks, shared_prefixes):
        sizes.append(len(configs))
        yield from ((k, {"status": "done", "loss": 1.0}) for k in range(len(configs)))

    store.record_job({"backend": "slurm", "id": "1", "kind": "workers", "slots": 3})
    store.record_job({"backend": "slurm", "id": "2", "kind": "controller", "slots": 1})
    greedy = Trainer(train, newest_step=lambda out: 0, pack_size=lambda config: 100)
    work_loop.work(store, greedy, threading.Event())
    assert sizes == [4, 2, 2, 1, 1]  # a third of what is left each time


def test_output_of_libraries_lands_in_the_run_log(tmp_path):
    store = new_store(tmp_path, [planned(1)])
    (run_id,) = store.plan.runs()
    code = """
import os, sys
from launch.workers import worker
from launch.workers.trainer import Trainer
def train(configs, outs, hooks, shared_prefixes):
    print("from python")
    os.write(2, b"from compiled code")
    yield 0, {"status": "done", "loss": 1.0}
worker.main(Trainer(train, lambda out: 0, lambda config: 1))
print("after the run")
"""
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    log = (store.run_folder(run_id) / "log.txt").read_text()
    assert "from python" in log and "from compiled code" in log and "after" not in log
    assert (ran.stdout, ran.stderr) == ("after the run\n", "")


def test_the_process_is_pinned_and_the_cache_named_before_jax(tmp_path):
    core = min(os.sched_getaffinity(0))
    code = "import json, os, sys; from launch.workers import process; process.prepare_process(sys.argv[1])\n"
    code += "loaded = 'jax' in sys.modules; import jax\n"
    code += "c = jax.config; print(json.dumps([loaded, list(os.sched_getaffinity(0)), "
    code += "c.jax_compilation_cache_dir, c.jax_persistent_cache_min_compile_time_secs]))"
    environment = os.environ | {"ISOFLOP_CACHE": str(tmp_path)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    printed = subprocess.run(
        [sys.executable, "-c", code, str(core)], env=environment, capture_output=True, check=True, text=True
    ).stdout
    assert json.loads(printed) == [False, [core], str(tmp_path / "xla"), 0]
