"""A study driven on this machine: to its end, by others' workers, cancelled; whom a cancellation reaches.

Runs only count steps (fake_worker.py).
"""

import json
import signal
import subprocess
import sys

import pytest

from launch.backends import local
from launch.backends.interface import Submission
from launch.store import PlannedRun, Store
from launch.store.leases import process_identity
from tests.launch.commands.studies.test_study import (
    LAUNCH,
    STUDY,
    check_finished,
    run_isoflop,
    start,
    wait_until,
)


def job(driver: dict) -> dict:
    """As the driver records it."""
    return {"backend": "local", "kind": "workers", "id": json.dumps(driver), "slots": 2}


def test_a_cancellation_reaches_the_drivers_that_live_here_and_nobody_else():
    with subprocess.Popen(["sleep", "60"]) as process:
        driver = process_identity(process.pid)
        others = [
            job(driver | {"host": "elsewhere"}),
            job(driver | {"start": driver["start"] - 1}),  # gone, and its number is another's now
        ]
        assert local.cancel(others) == "no process here drives it" and local.states(others) == []
        assert process.poll() is None
        assert local.states([*others, job(driver)]) == [f"local: process {process.pid} drives the study"]
        assert local.cancel([*others, job(driver)]) == f"asked process {process.pid} to stop"
        assert process.wait(10) == -signal.SIGTERM
    assert local.cancel([job(driver)]) == "no process here drives it"


@pytest.mark.parametrize("n_workers, said", [(0, "no workers"), (2, "pu1 (")])
def test_a_dry_run_says_who_would_train_and_touches_nothing(tmp_path, n_workers, said):
    runs = [PlannedRun(f"{k}", "grid", "s", 256, 100, 1e9, {}) for k in range(3)]
    submission = Submission(Store(tmp_path), runs, True, n_workers, "auto", {}, True)
    words = local.submit(submission)
    assert words.startswith("3 runs would be trained here by ") and said in words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_submitting_here_runs_the_study_to_its_end(tmp_path):
    folder = tmp_path / "x"
    assert run_isoflop("plan", STUDY, "--out", folder, "--nomemory")[0] == 0
    code, out, _ = run_isoflop("submit", folder, "--code", STUDY, "--dry_run")
    assert code == 0 and "7 runs would be trained here by" in out
    code, out, err = run_isoflop("submit", folder, "--code", STUDY)
    assert (code, err) == (0, "") and out.splitlines()[-1] == "predicted 2.1, measured 2.164"
    check_finished(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, again, _ = run_isoflop("submit", folder, "--code", STUDY)
    assert code == 0 and again.splitlines()[-1] == out.splitlines()[-1]
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.slow
def test_a_driver_without_workers_lets_others_do_the_work(tmp_path):
    folder = tmp_path / "x"
    assert run_isoflop("plan", STUDY, "--out", folder, "--nomemory")[0] == 0
    worker = [sys.executable, str(LAUNCH / "fake_worker.py"), str(folder), "--wait"]
    with subprocess.Popen(worker, stdin=subprocess.DEVNULL) as process:
        code, out, err = run_isoflop("submit", folder, "--code", STUDY, "--workers", "0")
        assert (code, err) == (0, "") and out.splitlines()[-1] == "predicted 2.1, measured 2.164"
        assert process.wait(10) == 0  # the study is finished
    check_finished(folder)
    assert Store(folder).jobs()[-1]["slots"] == 0


def test_cancelling_stops_the_study_that_runs_here(tmp_path):
    folder = tmp_path / "x"
    assert run_isoflop("plan", STUDY, "--out", folder, "--set", "n_steps=100000", "--nomemory")[0] == 0
    process, store = start("submit", folder, "--code", STUDY, "--workers", "2"), Store(folder)
    wait_until(lambda: "running" in store.states().values())
    code, out, _ = run_isoflop("status", folder, "--scheduler")
    assert code == 0 and f"process {process.pid} drives the study" in out
    code, out, _ = run_isoflop("cancel", folder)
    assert code == 0 and "cancelled 7 runs" in out and "local: " in out
    process.communicate(timeout=60)
    assert process.returncode in (1, 130)  # whichever it sees first: no run is left, or the signal
    assert set(store.states().values()) == {"cancelled"}
    assert run_isoflop("retry", folder)[0] == 0
    assert set(store.states().values()) == {"planned"}  # no lease is left behind
