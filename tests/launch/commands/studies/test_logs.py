"""`isoflop logs`: which logs there are, a run's, and why a worker went that could not say so itself."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from launch import cli
from launch.commands.studies import logs
from launch.store import PlannedRun, Store
from launch.store.leases import process_identity

RUN = "abc000000001"


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path)
    store.create()
    (store.root / "slurm").mkdir()
    config = {"model": {"d_model": 16}, "optimizer": {"lr": 0.01}, "batch_tokens": 10, "seed": 0}
    store.plan.add(
        [PlannedRun(name, "grid", "s", 256, 100, 1e9, config) for name in (RUN, "abc000000002", "def0")]
    )
    return store


def write_log(store: Store, run_id: str, text: str) -> Path:
    log = store.run_folder(run_id) / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    return log


def killed(store: Store, run_id: str) -> None:
    """A claim by a process on this host that is gone."""
    owner = process_identity(os.getpid()) | {"start": -1}
    n = len(list((store.root / "lease").glob(f"{run_id}.*"))) + 1
    (store.root / "lease" / f"{run_id}.{n}").write_text(json.dumps(owner))


def slot_log(store: Store, slot: str, rest: str = "") -> None:
    text = f"2026-01-01 slot {slot} on {os.uname().nodename} is process {os.getpid()}, restarts: 0\n{rest}"
    (store.root / "slurm" / f"slot-{slot}.log").write_text(text)


def printed(capsys, *arguments: object) -> str:
    assert cli.main(["logs", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments: object) -> str:
    assert cli.main(["logs", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_a_runs_log_is_found_by_the_beginning_of_its_id(store, capsys):
    write_log(store, RUN, "first\n\x1b[2Jsecond ÷\n")
    write_log(store, "def0", "other\n")
    assert printed(capsys, store.folder, RUN) == "first\n\ufffd[2Jsecond ÷\n"
    assert printed(capsys, store.folder, "d") == "other\n"
    assert "several runs begin so" in refused(capsys, store.folder, "abc")
    assert "no run begins so" in refused(capsys, store.folder, "x")


def test_a_run_that_nobody_has_begun(store, capsys):
    said = refused(capsys, store.folder, "def")
    assert said.startswith("isoflop: def0: no log yet, because no worker has begun it;")


def test_alone_it_lists_what_there_is(store, capsys):
    assert "no logs yet" in printed(capsys, store.folder)
    write_log(store, RUN, "begins\n" + "x" * 5000 + "\nloss 2.5\n")
    slot_log(store, "12_3", "worker ended\n")
    (store.root / "worker-cpu0.log").write_text("")
    lines = printed(capsys, store.folder).splitlines()
    assert sorted(line.split()[0] for line in lines) == [RUN, "slot-12_3", "worker-cpu0"]
    assert any(line.endswith("loss 2.5") and "5.02kB" in line for line in lines)


def test_of_many_runs_the_list_shows_the_last(store, capsys, monkeypatch):
    monkeypatch.setattr(logs, "SHOWN", 1)
    os.utime(write_log(store, "def0", "old\n"), (1, 1))
    write_log(store, RUN, "new\n")
    lines = printed(capsys, store.folder).splitlines()
    assert lines[0] == "1 more runs, then the last 1:" and lines[1].startswith(RUN) and len(lines) == 2


def test_a_slots_log_is_read_by_its_name(store, capsys):
    slot_log(store, "12_3", "worker ended\n")
    for name in ("slot-12_3", "12_3"):
        assert printed(capsys, store.folder, name).endswith("worker ended\n")


def test_a_worker_killed_from_outside_is_explained_by_its_slot(store, capsys):
    write_log(store, RUN, "attempt 1 begins\n")
    killed(store, RUN)
    slot_log(store, "12_3", "slurmstepd: error: Detected 1 oom_kill event\n")
    out = printed(capsys, store.folder, RUN)
    assert out.startswith("attempt 1 begins\nits worker was slot 12_3; ")
    assert out.endswith("  slurmstepd: error: Detected 1 oom_kill event\n")


def test_a_run_killed_before_its_first_word_is_explained_too(store, capsys):
    killed(store, "def0")
    slot_log(store, "12_3", "bus error\n")
    assert "its worker was slot 12_3" in printed(capsys, store.folder, "def")


def test_the_scheduler_is_asked_once_and_its_word_given(store, capsys, tmp_path, monkeypatch):
    write_log(store, RUN, "attempt 1 begins\n")
    killed(store, RUN)
    slot_log(store, "12_3")
    store.record_job({"backend": "slurm", "id": "12", "kind": "workers", "slots": 4})
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, answer in (("sacct", "12_3|OUT_OF_MEMORY"), ("squeue", "12_2|RUNNING|None")):
        (bin_folder / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/calls\necho '{answer}'\n")
        (bin_folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    assert "slot 12_3, which Slurm calls OUT_OF_MEMORY; " in printed(capsys, store.folder, RUN)
    assert sorted((tmp_path / "calls").read_text().split()) == ["sacct", "squeue"]


@pytest.mark.parametrize("how", ["done", "given back", "begun again"])
def test_where_nothing_went_wrong_no_slot_is_shown(store, capsys, how):
    write_log(store, RUN, "attempt 1 begins\n")
    killed(store, RUN)
    slot_log(store, "12_3")
    if how == "done":
        (store.root / "done" / RUN).write_text("{}")
    else:
        lease = store.claim(RUN)
        assert lease and lease.epoch == 2
        if how == "given back":
            store.release(lease)
    assert printed(capsys, store.folder, RUN) == "attempt 1 begins\n"


def test_of_a_failed_run_the_kill_before_is_shown(store, capsys):
    write_log(store, RUN, "attempt 1 begins\n")
    killed(store, RUN)
    slot_log(store, "12_3")
    store.max_attempts = 3
    for n in (1, 2, 3):
        (store.root / "failed" / f"{RUN}.{n}").write_text('{"error": "3 workers died"}')
    lease = store.root / "lease" / f"{RUN}.2"  # of the worker that noticed
    lease.write_text("{}")
    os.utime(lease, (0, 0))
    assert "its worker was slot 12_3" in printed(capsys, store.folder, RUN)


def test_following_prints_what_is_added_until_the_run_has_ended(store, capsys, monkeypatch):
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.02)

    def train():
        time.sleep(0.1)
        log = write_log(store, RUN, "begins\n")
        time.sleep(0.1)
        with open(log, "a") as file:
            file.write("last words\n")
        (store.root / "done" / RUN).write_text("{}")

    thread = threading.Thread(target=train)
    thread.start()
    out = printed(capsys, store.folder, RUN, "-f")
    thread.join()
    assert out == "begins\nlast words\n"
