"""The store: one winner a claim, one result a run, whatever dies or sleeps on the way."""

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
from launch.store.leases import known_dead


def planned(k: int, stage: str = "grid", shape: str = "s", flops: float = 1e9) -> PlannedRun:
    config = {"optimizer": {"lr": 0.01}, "k": k}
    return PlannedRun(f"{k:012x}", stage, shape, n_params=1000 + k, n_tokens=5000, flops=flops, config=config)


def new_store(folder: Path, n_runs: int = 3, **changes) -> Store:
    store = Store(folder, **changes)
    store.create()
    store.plan.add([planned(k) for k in range(n_runs)])
    return store


def done(loss: float = 2.0) -> dict:
    return {"status": "done", "loss": loss}


def python(code: str, *arguments) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def age(store: Store, run_id: str, epoch: int, seconds: float) -> None:
    stamp = time.time() - seconds
    os.utime(store.root / "lease" / f"{run_id}.{epoch}", (stamp, stamp))


@pytest.mark.parametrize(
    "folder, argument", [("out/a", "out/a"), ("./-dash", "./-dash"), ("it's", """'it'"'"'s'""")]
)
def test_commands_that_are_suggested_name_the_folder_as_a_shell_reads_it(folder, argument):
    assert Store(Path(folder)).argument == argument


def test_adding_the_same_runs_again_changes_nothing(tmp_path):
    store = new_store(tmp_path)
    before = store.plan.path.read_bytes(), store.plan.path.stat().st_mtime_ns
    assert store.plan.add([planned(2), planned(0)]) == []
    assert (store.plan.path.read_bytes(), store.plan.path.stat().st_mtime_ns) == before
    assert store.plan.add([planned(7), planned(1), planned(7)]) == [planned(7)]
    assert list(Store(tmp_path).plan.runs().values()) == [planned(0), planned(1), planned(2), planned(7)]


def test_a_reader_sees_runs_that_were_added_later(tmp_path):
    store = new_store(tmp_path, 1)
    reader = Store(tmp_path)
    assert len(reader.plan.runs()) == 1
    store.plan.add([planned(5)])
    assert len(reader.plan.runs()) == 2


def test_a_run_goes_through_its_states(tmp_path):
    store = new_store(tmp_path)
    a, b, c = store.plan.runs()
    lease = store.claim(a)
    assert store.claim(a) is None
    assert store.states() == {a: "claimed", b: "planned", c: "planned"}
    store.report_progress(lease, {"step": 3})
    assert store.states()[a] == "running" and store.progress(a) == {"step": 3}
    store.release(lease)
    assert store.states()[a] == "planned"
    again = store.claim(a)
    assert store.states()[a] == "claimed"  # of its second owner there is no word yet
    assert again.epoch == 2 and store.finish(again, done())
    assert store.finish(store.claim(b), {"status": "diverged", "loss": None})
    assert store.claim(a) is None
    assert store.states() == {a: "done", b: "diverged", c: "planned"}
    assert store.results() == {a: done(), b: {"status": "diverged", "loss": None}}
    assert json.loads((tmp_path / "runs" / a / "result.json").read_text()) == done()


def test_a_run_fails_after_its_attempts_and_can_be_tried_again(tmp_path):
    store = new_store(tmp_path, 1, backoff=0.0)
    (run_id,) = store.plan.runs()
    for n in range(store.max_attempts):
        assert store.states() == {run_id: "planned"}
        assert store.fail(store.claim(run_id), f"ValueError: {n}") == n + 1
    assert store.states() == {run_id: "failed"} and store.claim(run_id) is None
    assert store.snapshot().attempts == {run_id: 3} and store.error(run_id, 3) == "ValueError: 2"
    store.retry([run_id])
    assert store.states() == {run_id: "planned"} and store.snapshot().attempts == {}
    assert store.claim(run_id)


def test_files_of_others_among_leases_and_failures_are_left_alone(tmp_path):
    store = new_store(tmp_path, 1, backoff=0.0)
    (run_id,) = store.plan.runs()
    strays = [store.root / "lease" / ".nfs0000a.12", store.root / "lease" / ".DS_Store"]
    strays += [store.root / "failed" / f"{run_id}.1~", store.root / "failed" / f"{run_id}.²"]
    for path in strays:
        path.write_text("")
    assert store.states() == {run_id: "planned"} and store.strays() == sorted(strays)
    assert store.fail(store.claim(run_id), "ValueError") == 1
    store.retry([run_id])
    assert store.states() == {run_id: "planned"} and store.claim(run_id)


def test_a_run_that_failed_rests_twice_as_long_each_time(tmp_path):
    store = new_store(tmp_path, 1, backoff=10.0)
    (run_id,) = store.plan.runs()
    for n, seconds in ((1, 20), (2, 40)):
        store.fail(store.claim(run_id), "ValueError: no")
        path = store.root / "failed" / f"{run_id}.{n}"
        for ago, rests in ((seconds - 5, True), (seconds + 5, False)):
            os.utime(path, (time.time() - ago,) * 2)
            assert store.states() == {run_id: "planned"}
            assert store.snapshot().backing_off == ({run_id} if rests else set())
            if rests:
                assert store.claim(run_id) is None


def test_a_cancelled_run_is_nobodys_until_it_is_tried_again(tmp_path):
    store = new_store(tmp_path)
    a, b, c = store.plan.runs()
    lease, finished = store.claim(a), store.claim(b)
    store.finish(finished, done())
    store.cancel([a, b, c])
    assert store.states() == {a: "cancelled", b: "done", c: "cancelled"}
    assert store.unwanted(a) and store.claim(c) is None
    store.release(lease)
    store.retry([a])
    assert store.states() == {a: "planned", b: "done", c: "cancelled"}
    assert not store.unwanted(a) and store.claim(a).epoch == 2


def test_runs_that_no_longer_belong_are_set_aside_and_come_back(tmp_path):
    store = new_store(tmp_path)
    a, b, c = store.plan.runs()
    store.finish(store.claim(a), done())
    assert store.plan.keep_only({b}) == [a, c]
    assert store.plan.keep_only({b}) == []
    assert store.states() == {a: "cancelled", b: "planned", c: "cancelled"}
    store.retry([a, b, c])  # is of cancelled runs, not of these
    assert store.claim(c) is None and store.unwanted(c)
    assert store.plan.keep_only({a, b, c}) == []
    assert store.states() == {a: "done", b: "planned", c: "planned"}


def test_deaths_of_owners_are_counted_until_one_gives_the_run_back(tmp_path):
    store = new_store(tmp_path, 1)
    (run_id,) = store.plan.runs()
    for n in range(3):
        assert store.claim(run_id).deaths == n and store.deaths(run_id, 0) == n + 1
        age(store, run_id, n + 1, 1000)
    lease = store.claim(run_id)
    store.release(lease)
    assert store.deaths(run_id, 0) == 0 and store.claim(run_id).deaths == 0


def test_a_failure_stamped_in_the_future_holds_nothing_up(tmp_path):
    store = new_store(tmp_path, 1)
    (run_id,) = store.plan.runs()
    store.fail(store.claim(run_id), "unlucky")
    os.utime(store.root / "failed" / f"{run_id}.1", (time.time() + 100_000,) * 2)
    assert not store.snapshot().backing_off and store.claim(run_id)


def test_deaths_count_only_where_no_checkpoint_was_written_between_them(tmp_path):
    store = new_store(tmp_path, 1)
    (run_id,) = store.plan.runs()
    # The step that each owner began at, and how many before it had died there: the first death came before a
    # checkpoint, the next two left newer ones, the last three brought nothing.
    expected = [(0, 0), (0, 1), (10, 0), (20, 0), (20, 1), (20, 2)]
    for epoch, (step, deaths) in enumerate(expected, 1):
        assert store.claim(run_id, step).deaths == deaths, epoch
        age(store, run_id, epoch, 1000)


def test_jobs_are_kept_in_order_and_a_torn_line_is_left_out(tmp_path):
    store = new_store(tmp_path)
    assert store.jobs() == []
    for name in ("7", "8"):
        store.record_job({"backend": "slurm", "id": name, "kind": "workers", "slots": 2})
        with open(store.root / "jobs.jsonl", "a") as file:
            file.write('{"backend": "sl')
            file.write("\n[1]\n{}\n" + "[" * 100_000 + "\n")  # what nobody wrote
    assert [job["id"] for job in store.jobs()] == ["7", "8"]
    assert time.time() - store.jobs()[0]["time"] < 10


def test_stages_that_wait_are_names(tmp_path):
    store = new_store(tmp_path)
    store.plan.note_waiting(["grid", "verify"])
    assert store.plan.waiting_stages() == ["grid", "verify"]
    (store.root / "waiting.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"waiting.json holds \[1\]; expected names of stages"):
        store.plan.waiting_stages()


def test_lines_of_an_earlier_version_still_load(tmp_path):
    store = new_store(tmp_path, 1)
    line = json.loads(store.plan.path.read_text())
    for name in ("pack", "trunk", "branch_step", "n_steps"):
        del line[name]
    store.plan.path.write_text(json.dumps(line) + "\n")
    assert list(Store(tmp_path).plan.runs().values()) == [planned(0)]


def test_a_stale_lease_is_taken_over_and_its_owner_fenced(tmp_path):
    store = new_store(tmp_path, 1)
    (run_id,) = store.plan.runs()
    slow = store.claim(run_id)
    age(store, run_id, 1, store.ttl - 5)
    assert store.claim(run_id) is None
    age(store, run_id, 1, store.ttl + 5)
    assert store.states() == {run_id: "planned"}
    quick = store.claim(run_id)
    assert quick.epoch == 2 and store.lost(slow) and not store.lost(quick)
    store.heartbeat(slow)  # too late: only the newest epoch counts
    assert not store.finish(slow, done(1.0))
    store.fail(slow, "ValueError: from the slow one")
    assert store.snapshot().attempts == {}
    assert store.finish(quick, done(2.0))
    assert store.results()[run_id] == done(2.0)


def test_the_first_result_counts_even_without_a_fence(tmp_path, monkeypatch):
    store = new_store(tmp_path, 1)
    (run_id,) = store.plan.runs()
    slow = store.claim(run_id)
    age(store, run_id, 1, 1000)
    quick = store.claim(run_id)
    assert store.finish(quick, done(2.0))
    monkeypatch.setattr(Store, "lost", lambda *_: False)  # it looked just before it was overtaken
    assert not store.finish(slow, done(1.0))
    assert store.results()[run_id] == done(2.0)


def test_a_lease_of_a_killed_process_is_free_at_once(tmp_path):
    store = new_store(tmp_path, 1)
    (run_id,) = store.plan.runs()
    code = "import sys, time; from pathlib import Path; from launch.store import Store\n"
    code += "print(Store(Path(sys.argv[1])).claim(sys.argv[2]), flush=True); time.sleep(60)"
    owner = python(code, tmp_path, run_id)
    owner.stdout.readline()
    assert store.states() == {run_id: "claimed"} and store.claim(run_id) is None
    owner.kill()
    while not known_dead(json.loads((store.root / "lease" / f"{run_id}.1").read_text())):
        time.sleep(0.01)  # a zombie until we wait for it: dead all the same
    assert store.claim(run_id).epoch == 2
    owner.wait()


def test_a_lease_torn_by_a_power_cut_waits_for_its_time(tmp_path):
    store = new_store(tmp_path, 1)
    (run_id,) = store.plan.runs()
    (store.root / "lease" / f"{run_id}.1").touch()
    assert store.claim(run_id) is None
    age(store, run_id, 1, store.ttl + 5)
    assert store.claim(run_id).epoch == 2


def test_a_crash_between_result_and_its_link_is_mended(tmp_path):
    store = new_store(tmp_path, 1)
    (run_id,) = store.plan.runs()
    store.finish(store.claim(run_id), done())
    (tmp_path / "runs" / run_id / "result.json").unlink()
    assert Store(tmp_path).results()[run_id] == done()
    assert (tmp_path / "runs" / run_id / "result.json").exists()


RACER = """
import random, sys, time
from pathlib import Path
from launch.store import Store
store, name = Store(Path(sys.argv[1])), sys.argv[2]
while any(state in ("planned", "claimed", "running") for state in store.states().values()):
    free = [run_id for run_id, state in store.states().items() if state == "planned"]
    random.shuffle(free)
    for run_id in free:
        if lease := store.claim(run_id):
            print(f"claim {run_id}.{lease.epoch}", flush=True)
            time.sleep(random.random() * 0.02)
            if store.finish(lease, {"status": "done", "loss": 1.0, "by": name}):
                print(f"done {run_id}", flush=True)
    time.sleep(0.005)
"""


@pytest.mark.parametrize("n_kills", [0, 12])
def test_racing_workers_that_are_killed_do_every_run_once(tmp_path, n_kills):
    store = new_store(tmp_path, 60)
    workers = [python(RACER, tmp_path, k) for k in range(3)]
    printed = ""
    draw = random.Random(0)
    for _ in range(n_kills):
        time.sleep(0.03 + 0.05 * draw.random())
        k = draw.randrange(3)
        workers[k].send_signal(signal.SIGKILL)
        printed += workers[k].communicate()[0]
        workers[k] = python(RACER, tmp_path, f"again {k}")
    printed += "".join(worker.communicate(timeout=60)[0] for worker in workers)
    lines = printed.splitlines()
    claims = [line for line in lines if line.startswith("claim")]
    finishes = [line for line in lines if line.startswith("done")]
    assert set(store.states().values()) == {"done"} and len(store.results()) == 60
    assert len(set(claims)) == len(claims)  # no epoch had two owners
    assert 60 <= len(claims) <= 60 + n_kills
    assert len(set(finishes)) == len(finishes)
    assert len(finishes) + n_kills >= 60  # a kill may fall between the result and its line
