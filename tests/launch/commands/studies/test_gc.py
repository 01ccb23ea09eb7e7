"""`isoflop gc`: what it keeps, what it drops, what it says."""

import json
import os
import time
from pathlib import Path

import pytest

from launch import cli
from launch.store import PlannedRun, Store

OLD = time.time() - 7200


def planned(k: int, **fields) -> PlannedRun:
    return PlannedRun(f"{k:012x}", "grid", "s", 256, 200, 1e9, {}, **fields)


def checkpoint(folder: Path, *steps: int) -> None:
    for step in steps:
        (folder / str(step)).mkdir(parents=True)
        (folder / str(step) / "array").write_bytes(bytes(8192))


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


@pytest.fixture
def store(tmp_path) -> Store:
    """A done, a diverged, the verification's, a planned and a failed run, with two checkpoints each."""
    store = Store(tmp_path, max_attempts=1)
    store.create()
    store.plan.add([planned(k) for k in range(5)])
    done, diverged, verified, _, failed = store.plan.runs()
    for run_id in store.plan.runs():
        checkpoint(store.run_folder(run_id) / "checkpoints", 100, 200)
    for run_id, status in ((done, "done"), (diverged, "diverged"), (verified, "done")):
        store.finish(store.claim(run_id), {"status": status, "loss": 1.0})
    store.fail(store.claim(failed), "ValueError: no")
    (tmp_path / "verify.json").write_text(json.dumps({"run_id": verified}))
    return store


def kept(store: Store) -> list[list[int]]:
    return [steps(store.run_folder(run_id) / "checkpoints") for run_id in store.plan.runs()]


def test_what_finished_runs_do_not_need_goes(store, capsys):
    assert cli.main(["gc", str(store.folder), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "4 checkpoints, 32.8kB" in said and said.endswith("would free 32.8kB\n")
    assert kept(store) == [[100, 200]] * 5
    assert cli.main(["gc", str(store.folder)]) == 0
    assert capsys.readouterr().out.endswith("freed 32.8kB\n")
    assert kept(store) == [[200], [], [200], [100, 200], [100, 200]]
    assert cli.main(["gc", str(store.folder), "--all"]) == 0
    assert kept(store) == [[], [], [200], [100, 200], [100, 200]]
    assert not any(path.name.startswith(".dropped") for path in store.folder.rglob("*"))
    assert cli.main(["gc", str(store.folder)]) == 0
    assert capsys.readouterr().out.endswith("freed 0B\n")


def test_branch_checkpoints_stay_while_a_run_will_start_from_them(tmp_path, capsys):
    store = Store(tmp_path)
    store.create()
    store.plan.add([planned(k, trunk="t", branch_step=10 * k) for k in (1, 2, 4)] + [planned(9, trunk="u")])
    short, middle, _, other = store.plan.runs()
    checkpoint(store.shared_prefixes / "t", 10, 20, 30)
    checkpoint(store.shared_prefixes / "u", 5)
    checkpoint(store.shared_prefixes / "t.0123.89ab", 40)  # somebody is at it
    for run_id in (short, middle, other):
        store.finish(store.claim(run_id), {"status": "done", "loss": 1.0})
    store.plan.note_waiting(["verify"])
    assert cli.main(["gc", str(tmp_path)]) == 0
    assert steps(store.shared_prefixes / "t") == [10, 20, 30]  # runs of the next stage may want them
    store.plan.note_waiting([])
    assert cli.main(["gc", str(tmp_path)]) == 0
    assert steps(store.shared_prefixes / "t") == [30] and steps(store.shared_prefixes / "u") == []
    assert steps(store.shared_prefixes / "t.0123.89ab") == [40]


def test_leftovers_of_killed_processes_go_when_they_are_old(store):
    run_folder = store.run_folder(next(iter(store.plan.runs())))
    old = [store.root / "scratch" / "tmpa", run_folder / ".metrics.jsonl.abcd_123"]
    old += [store.root / ".study.jsonl.abcd_123"]
    old += [run_folder / "checkpoints" / "300.orbax-checkpoint-tmp", store.shared_prefixes / "t.0123.89ab"]
    for path in old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
        os.utime(path, (OLD, OLD))
    for name in (".lock", ".git", ".hidden.json"):  # not ours
        (store.folder / name).write_text("x")
        os.utime(store.folder / name, (OLD, OLD))
    fresh = store.root / "scratch" / "tmpb"
    fresh.write_text("half")
    assert cli.main(["gc", str(store.folder)]) == 0
    assert not any(path.exists() for path in old) and fresh.exists()
    assert all((store.folder / name).exists() for name in (".lock", ".git", ".hidden.json"))
    assert (store.root / "study.jsonl").exists() and (run_folder / "result.json").exists()
