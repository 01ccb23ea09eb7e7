"""`isoflop study`: to the end in one go, or in pieces after any kill; refuses what would mix two studies.

Also the commands that read a study: plan, status, logs. Runs only count steps (fake_worker.py).
"""

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import cli
from launch.store import STATES, Store
from tests.tiny_run import isoflop

LAUNCH = Path(__file__).parents[2]
STUDY = str(LAUNCH / "fake_study.py")
CODE = f"""
import sys
from launch import cli
from launch.workers import pool
pool.WORKER = (sys.executable, {str(LAUNCH / "fake_worker.py")!r})
sys.exit(cli.main(sys.argv[1:]))
"""


def start(*arguments, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", CODE, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with interruptible():
        return subprocess.Popen(command, **(pipes | options))


@contextlib.contextmanager
def interruptible():
    """Children hear SIGINT, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run_isoflop(*arguments, **options) -> tuple[int, str, str]:
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def wait_until(condition, seconds: float = 60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def check_finished(folder: Path, n_steps: int = 100) -> None:
    """Every run done once, step after step, and every file whole."""
    store = Store(folder)
    assert sorted(store.states().values()) == ["diverged"] * 2 + ["done"] * 6
    for run_id in store.plan.runs():
        steps = (store.run_folder(run_id) / "steps").read_text().split()
        assert steps == [str(k) for k in range(n_steps)]
    with open(folder / "runs.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["sweep"] * 7 + ["verify"]
    assert [row["run_id"] for row in rows] == list(store.plan.runs())
    sidecar = json.loads((folder / "runs.json").read_text())
    about_data = {"tokenizer": {"name": "bytes"}, "data": {"task": "none", "name": "none"}}
    assert sidecar["conventions"] == {"loss": "nats per token"} | about_data and sidecar["device"] == "none"
    assert json.loads((folder / "verify.json").read_text())["run_id"] == rows[-1]["run_id"]
    assert json.loads((folder / "fit.json").read_text()) == {"n_points": 8}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A finished study and what was printed on the way."""
    folder = tmp_path_factory.mktemp("study") / "new" / "folder"
    code, out, err = run_isoflop("study", STUDY, "--out", folder, "--set", "seed=1")
    assert (code, err) == (0, "")
    return folder, out


def test_a_study_runs_to_its_end(finished):
    folder, out = finished
    check_finished(folder)
    lines = out.splitlines()
    assert sum("loss" in line and "stage 1/2 sweep" in line for line in lines) == 5
    assert sum("  diverged" in line and "stage 1/2 sweep" in line for line in lines) == 2
    assert [line.split()[:3] for line in lines[-5:-2]] == [
        ["stage", "runs", "diverged"],
        ["sweep", "7", "2"],
        ["verify", "1", "0"],
    ]
    assert lines[-1] == "predicted 2.1, measured 2.164"
    described = json.loads((folder / "study.json").read_text())
    assert described["name"] == "fake_study.py" and described["overrides"] == ["seed=1"]
    assert described["seed"] == 1
    assert {"python", "jax", "isoflop"} <= described["versions"].keys()


def test_a_finished_study_does_nothing_quickly_and_without_jax(finished):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code = "import sys; from launch import cli; code = cli.main(sys.argv[1:])\n"
    code += "print([name for name in ('jax', 'pandas', 'numpy') if name in sys.modules], code)"
    arguments = ["study", STUDY, "--out", str(folder), "--set", "seed=1"]
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert ran.stdout.splitlines()[-2:] == ["predicted 2.1, measured 2.164", "[] 0"]
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_other_settings_or_another_study_are_refused(finished, capsys):
    folder, _ = finished
    assert isoflop("study", STUDY, "--out", str(folder), "--set", "seed=2") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "was begun with --set seed=1" in err
    assert isoflop("study", "quickstart", "--out", str(folder), "--set", "seed=1") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "holds the study 'fake_study.py'" in err


def test_an_earlier_value_of_a_setting_that_is_given_twice_does_not_count(finished):
    folder, _ = finished
    assert isoflop("study", STUDY, "--out", str(folder), "--set", "seed=2", "--set", "seed=1") == 0


def test_a_study_that_was_moved_still_works(finished, tmp_path):
    folder, _ = finished
    moved = tmp_path / "moved"
    subprocess.run(["cp", "-a", str(folder), str(moved)], check=True)
    (moved / "store" / "finished.txt").unlink()
    code, out, err = run_isoflop("study", STUDY, "--out", moved, "--set", "seed=1")
    assert (code, err) == (0, "") and out.endswith("predicted 2.1, measured 2.164\n")
    check_finished(moved)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--set", "n_stepz=3"], "did you mean 'n_steps'?"),
        (["--set", "n_steps=many"], "n_steps='many'"),
        (["--set", "n_steps=-3"], "n_tokens=-24; it must be at least 1"),
        (["--workers", "0"], "--workers=0"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(tmp_path, capsys, arguments, said):
    assert isoflop("study", STUDY, "--out", str(tmp_path / "x"), *arguments) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_an_unwritable_folder_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert isoflop("study", STUDY, "--out", str(tmp_path / "file" / "x")) == 2
    assert capsys.readouterr().err == f"isoflop: {tmp_path}/file/x/store/lease: Not a directory\n"


def test_a_second_driver_is_refused(tmp_path, capsys):
    first = start("study", STUDY, "--out", tmp_path, "--set", "n_steps=100000")
    wait_until(lambda: any(state == "running" for state in Store(tmp_path).states().values()))
    assert isoflop("study", STUDY, "--out", str(tmp_path), "--set", "n_steps=100000") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"process {first.pid} is at work here" in err
    first.terminate()
    assert first.wait(60) == 130


SIGTERM = pytest.param(signal.SIGTERM, marks=pytest.mark.slow)  # also ends the driver of the test before


@pytest.mark.parametrize("number", [signal.SIGINT, SIGTERM])
def test_an_interrupted_study_stops_its_workers_and_continues(tmp_path, number):
    process = start("study", STUDY, "--out", tmp_path, "--set", "n_steps=400")
    store = Store(tmp_path)
    wait_until(lambda: any(store.progress(run_id) for run_id in store.plan.runs()))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "run the same command to continue" in out and err == ""
    assert "running" not in store.states().values()
    assert run_isoflop("study", STUDY, "--out", tmp_path, "--set", "n_steps=400")[0] == 0
    check_finished(tmp_path, 400)


@pytest.mark.slow
def test_a_study_survives_kill_9_of_driver_and_workers(tmp_path):
    draw = random.Random(0)
    for _ in range(4):
        process = start("study", STUDY, "--out", tmp_path, "--set", "n_steps=400", process_group=0)
        time.sleep(1.0 + 2.0 * draw.random())
        victims = [process.pid, *children(process.pid)]
        draw.shuffle(victims)
        for pid in victims[: draw.randint(1, len(victims))]:
            kill(pid)
        kill(process.pid)
        process.communicate()
    code, _, err = run_isoflop("study", STUDY, "--out", tmp_path, "--set", "n_steps=400")
    assert (code, err) == (0, "")
    check_finished(tmp_path, 400)


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_failed_runs_stop_the_study_and_are_tried_again(tmp_path, capsys):
    code, _, err = run_isoflop("study", STUDY, "--out", tmp_path, "--set", "unlucky=13")
    store = Store(tmp_path)
    (failed,) = store.snapshot().attempts
    assert code == 1 and f"{failed}: RuntimeError: seed 13 is unlucky" in err
    assert sorted(store.states().values()) == ["diverged"] * 2 + ["done"] * 4 + ["failed"]
    assert not (tmp_path / "verify.json").exists() and (tmp_path / "runs.csv").exists()
    assert len(list((store.root / "failed").iterdir())) == 3
    capsys.readouterr()
    assert cli.main(["status", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"{failed} failed after 3 attempts: RuntimeError: seed 13 is unlucky" in said
    assert f"log: {tmp_path}/runs/{failed}/log.txt" in said and "verify" in said
    assert run_isoflop("study", STUDY, "--out", tmp_path, "--set", "unlucky=13")[0] == 1
    assert (store.run_folder(failed) / "log.txt").read_text().count("Traceback") == 6


def test_workers_that_always_die_end_the_study(tmp_path):
    code, _, err = run_isoflop("study", STUDY, "--out", tmp_path, "--set", "unlucky=14")
    assert code == 1 and "died 3 times" in err and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
@pytest.mark.parametrize("size", ["40k", "100k"])
def test_a_full_disk_is_one_line_and_the_study_continues_when_there_is_room(tmp_path, size):
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not permitted")
    arguments = ("study", STUDY, "--out", tmp_path / "x", "--set", "n_steps=1000")
    try:
        code, _, err = run_isoflop(*arguments)
        assert code == 2 and err.count("\n") == 1 and "x: No space left on device; when" in err
        subprocess.run(["mount", "-o", "remount,size=10m", str(tmp_path)], check=True)
        assert run_isoflop(*arguments)[0] == 0
        assert sorted(Store(tmp_path / "x").states().values()) == ["diverged"] * 2 + ["done"] * 6
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_status_says_what_is_done(finished, capsys):
    folder, _ = finished
    assert cli.main(["status", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder}: finished"
    assert lines[2].split() == ["sweep", "0", "0", "0", "5", "2", "0", "0"]
    assert lines[3].split() == ["verify", "0", "0", "0", "1", "0", "0", "0"]
    assert cli.main(["status", "--json", str(folder)]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["counts"] == dict.fromkeys(STATES, 0) | {"done": 6, "diverged": 2}
    assert seen["finished"] and seen["seconds_left"] == 0


def test_watching_a_finished_study_ends_at_once(finished, capsys):
    folder, _ = finished
    assert cli.main(["status", str(folder), "--watch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder}: finished" and any(line.startswith("spent about ") for line in lines)
    assert lines[-1].startswith("predicted 2.1, measured ")


def test_logs_finds_a_run_by_the_beginning_of_its_id(finished, capsys):
    folder, _ = finished
    run_id = next(iter(Store(folder).plan.runs()))
    assert cli.main(["logs", str(folder), run_id[:6]]) == 0
    assert "attempt 1 begins" in capsys.readouterr().out
    assert cli.main(["logs", str(folder), "nothing"]) == 2
    assert "no run begins so" in capsys.readouterr().err
    assert cli.main(["logs", str(folder), ""]) == 2
    assert "several runs begin so" in capsys.readouterr().err


def test_plan_shows_what_can_be_planned_and_writes_nothing_without_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert isoflop("plan", STUDY) == 0 and not list(tmp_path.iterdir())
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "sweep: 7 runs"
    waits, so_far, whole, memory = lines[-4:]
    assert waits.startswith("verify: planned after stage sweep, from its results; about 1 run, ")
    assert so_far.startswith("in all so far: 7 runs") and memory.startswith("memory: at most ")
    assert whole.startswith("with the stages that wait: about 8 runs, ")


def test_plan_uses_the_results_of_a_study_under_way(finished, capsys):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert isoflop("plan", STUDY, "--out", str(folder), "--set", "seed=1", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert [len(runs) for runs in plan.values()] == [7, 1]
    assert [run["run_id"] for runs in plan.values() for run in runs] == list(Store(folder).plan.runs())
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    changed = {path.name for path in after if before.get(path) != after[path]}
    assert changed <= {"driver.lock"}
