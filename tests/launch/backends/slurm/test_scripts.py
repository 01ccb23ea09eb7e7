"""What a real Slurm makes of our scripts: stages, throttle, cancel and retry, preemption, time-out.

Runs only count steps (fake_worker.py); each must hold 0 1 2 … n however often its slot was started again.
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest

from launch import cli
from launch.backends.interface import Submission
from launch.backends.slurm import backend as slurm
from launch.store import PlannedRun, Store
from tests.launch.backends.slurm.cluster import cluster, missing

LAUNCH = Path(__file__).parents[2]
CPUS = 3
# A study's python: the real one, but for the worker.
PYTHON = """#!/bin/bash
if [ "$3" = launch.workers.worker ]; then shift 3; set -- {worker} "$@"; fi
exec {python} "$@"
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """For commands of a Slurm of our own. CI must have one; elsewhere these tests are skipped without."""
    if lacking := missing():
        words = f"no {', '.join(lacking)} here (Debian: slurmctld slurmd slurm-client munge)"
        if os.environ.get("ISOFLOP_TEST_SLURM") == "1" or os.environ.get("CI") == "true":
            pytest.fail(words)
        pytest.skip(words)
    with cluster(cpus=CPUS, max_array=3) as environment:
        yield environment


@pytest.fixture
def call(environment):
    """Runs a command for that Slurm and returns what it prints."""

    def call(*command: object) -> str:
        ran = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, timeout=120
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return call


@pytest.fixture
def isoflop(environment, capsys):
    """Our commands, here and with that Slurm; returns what is printed."""

    def isoflop(*arguments: object) -> str:
        assert cli.main([str(argument) for argument in arguments]) == 0
        return capsys.readouterr().out

    with mock.patch.dict(os.environ, {name: environment[name] for name in ("SLURM_CONF", "PATH")}):
        yield isoflop


@pytest.fixture
def site(tmp_path) -> dict:
    """A site file, parsed."""
    python = tmp_path / "python"
    worker = shlex.quote(str(LAUNCH / "fake_worker.py"))
    python.write_text(PYTHON.format(python=shlex.quote(sys.executable), worker=worker))
    python.chmod(0o755)
    return {"slurm": {"python": str(python), "time": "30", "controller": {"mem": "100M"}}}


@pytest.fixture
def store(tmp_path, environment, monkeypatch) -> Store:
    """A study of two runs; this process calls that Slurm."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, environment[name])
    store = Store(tmp_path / "study 100%")
    store.create()
    config = {"model": {"d_model": 16}, "optimizer": {"lr": 0.1}, "batch_tokens": 8, "seed": 0}
    store.plan.add(
        [PlannedRun(f"{k:012x}", "grid", "s", 256, 8, 1e9, config | {"n_tokens": 8 * 9000}) for k in range(2)]
    )
    yield store
    slurm.cancel(store.jobs())


def submission_of(store: Store, site: dict) -> Submission:
    return Submission(store, list(store.plan.runs().values()), False, 2, "1", site, False)


def wait_until(condition, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)


def steps(store: Store) -> list[int]:
    """Steps taken by each run so far."""
    files = [store.run_folder(run_id) / "steps" for run_id in store.plan.runs()]
    return [len(file.read_text().split()) if file.exists() else 0 for file in files]


def check_done(store: Store, n_steps: int) -> None:
    assert set(store.states().values()) == {"done"}
    for run_id in store.plan.runs():
        text = (store.run_folder(run_id) / "steps").read_text()
        assert text.split() == [str(k) for k in range(n_steps)]


def slot_logs(store: Store) -> list[str]:
    return [log.read_text() for log in sorted((store.root / "slurm").glob("slot-*.log"))]


def starts(store: Store) -> list[int]:
    """How often each slot was started."""
    return [log.count(" is process ") for log in slot_logs(store)]


def test_a_study_of_two_stages_throttled_cancelled_and_retried_ends_like_a_local_one(
    tmp_path, call, isoflop, site
):
    """Four slots in arrays of three at most, two at a time; the second stage waits for the first."""
    file, study = tmp_path / "site.toml", tmp_path / "study"
    file.write_text(slurm.as_toml({"slurm": site["slurm"] | {"workers": 4, "throttle": 2}}))
    code = ("--code", LAUNCH / "fake_study.py")
    submit = ("submit", study, "--on", "slurm", "--site", file, *code)
    plan = ("plan", LAUNCH / "fake_study.py", "--set", "n_steps=2000", "--out")
    isoflop(*plan, study)
    call("scontrol", "update", "partition=main", "state=down")
    assert isoflop(*submit).count("array ") == 2
    assert isoflop(*submit).startswith("nothing to submit: 4 slots queued or running, then controller ")
    call("scontrol", "update", "partition=main", "state=up")
    store = Store(study)
    wait_until(lambda: sum(steps(store)) > 0)
    wait_until(lambda: {"JobArrayTaskLimit", "Dependency"} <= set(call("squeue", "-hro", "%r").split()))
    assert call("squeue", "-hr", "-t", "running", "-o", "%i").count("_") <= 2
    assert "(Dependency)" in isoflop("status", study, "--scheduler")

    isoflop("cancel", study)
    wait_until(lambda: not call("squeue", "-h"))
    assert set(store.states().values()) <= {"cancelled", "done", "diverged"}
    isoflop("retry", study)
    isoflop(*submit)
    wait_until(store.finished.exists, 120)
    assert "predicted 2.1, measured 2.164" in isoflop(*submit)  # finished: says so, submits nothing
    wait_until(lambda: not call("squeue", "-h"))

    local = tmp_path / "local"
    isoflop(*plan, local)
    program = "import sys; from launch import cli; from launch.workers import pool; "
    program += "pool.WORKER = (sys.executable, sys.argv[1]); "
    program += "sys.exit(cli.main(sys.argv[2:]))"
    call(sys.executable, "-c", program, LAUNCH / "fake_worker.py", "submit", local, "--on", "local", *code)
    tables = [pd.read_csv(folder / "runs.csv").drop(columns="wall_seconds") for folder in (study, local)]
    pd.testing.assert_frame_equal(*tables)
    assert len(tables[0]) == 8


def test_a_preempted_slot_saves_its_run_and_is_started_again_by_slurm(store, call, site):
    slurm.submit(submission_of(store, site))
    wait_until(lambda: min(steps(store)) > 100)
    call("sbatch", "-p", "high", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    wait_until(lambda: set(store.states().values()) == {"done"})
    check_done(store, 9000)
    assert all(n > 1 for n in starts(store))
    for run_id in store.plan.runs():
        log = (store.run_folder(run_id) / "log.txt").read_text()
        assert "stopped; the run can be continued" in log and "attempt 2 begins" in log
    assert "requeued" not in call("cat", *(store.root / "slurm").glob("slot-*.log"))


def test_a_slot_whose_time_is_over_is_started_again_and_no_other(store, call, site):
    """Its worker leaves with 75 before the limit; one slot's first start has its limit set short."""
    first = 'if [ "$SLURM_ARRAY_TASK_ID$SLURM_RESTART_COUNT" = 1 ]; then'
    setup = [first, "SLURM_JOB_END_TIME=$(($(date +%s) + 12))", "fi"]
    slurm.submit(submission_of(store, {"slurm": site["slurm"] | {"setup": setup}}))
    wait_until(lambda: set(store.states().values()) == {"done"})
    check_done(store, 9000)
    first, second = slot_logs(store)
    assert "exit code 75" in second and "restarts: 1" in second
    assert "exit code 0" in first and "restarts: 1" not in first
