"""`isoflop cancel`: which runs it marks, whose jobs it ends, and how runs are named."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch import cli
from launch.arguments.studies import chosen_runs
from launch.backends import BACKENDS
from launch.store import PlannedRun, Store
from tests.launch.commands.studies.test_submit import Backend

IDS = ("3f2a00000000", "3f2b00000000", "aa0000000000", "bb0000000000", "cc0000000000")


def new_store(folder, ids=IDS) -> Store:
    store = Store(folder, backoff=0.0)
    store.create()
    store.plan.add(
        [PlannedRun(run_id, "grid", "s", 1000, 5000, 1e9, {"optimizer": {"lr": 0.01}}) for run_id in ids]
    )
    return store


@pytest.fixture
def store(tmp_path) -> Store:
    """A done, a diverged, a failed and two planned runs, one of which is claimed."""
    store = new_store(tmp_path)
    done, diverged, failed, claimed, _ = store.plan.runs()
    for run_id, status in ((done, "done"), (diverged, "diverged")):
        store.finish(store.claim(run_id), {"status": status, "loss": 1.0, "flops_per_second": 1e9})
    for _ in range(store.max_attempts):
        store.fail(store.claim(failed), "ValueError: no")
    store.claim(claimed)
    return store


def isoflop(*arguments) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_everything_without_a_result_is_cancelled(store, capsys):
    assert isoflop("cancel", store.folder) == 0
    said = capsys.readouterr().out
    assert said == f"cancelled 3 runs; `isoflop retry {store.folder}` takes that back\n"
    assert list(store.states().values()) == ["done", "diverged"] + ["cancelled"] * 3
    assert isoflop("cancel", store.folder) == 0 and "cancelled 0 runs" in capsys.readouterr().out


def test_named_runs_alone_are_cancelled_and_no_job(store, capsys, monkeypatch):
    backend = Backend()
    monkeypatch.setitem(sys.modules, BACKENDS["slurm"], backend)
    store.record_job({"backend": "slurm", "id": "7", "kind": "workers", "slots": 2})
    assert isoflop("cancel", store.folder, "cc", "3f2a") == 0
    assert "cancelled 1 run;" in capsys.readouterr().out and not backend.cancelled
    assert list(store.states().values()) == ["done", "diverged", "failed", "claimed", "cancelled"]
    store.record_job({"backend": "slurm", "id": "8", "kind": "controller", "slots": 1})
    assert isoflop("cancel", store.folder) == 0 and "slurm: cancelled 7" in capsys.readouterr().out
    assert [[job["id"] for job in jobs] for jobs in backend.cancelled] == [["7", "8"]]


@given(st.sets(st.text("ab", min_size=4, max_size=4), min_size=1), st.text("ab", max_size=4))
def test_a_beginning_names_the_one_run_that_begins_so(tmp_path_factory, ids, beginning):
    store = new_store(tmp_path_factory.mktemp("x"), sorted(ids))
    matches = [run_id for run_id in ids if run_id.startswith(beginning)]
    if len(matches) == 1:
        assert chosen_runs(store, [beginning]) == set(matches)
    else:
        with pytest.raises(ValueError, match="several runs begin so" if matches else "no run begins so"):
            chosen_runs(store, [beginning])


def test_a_wrong_name_among_right_ones_cancels_nothing(store, capsys):
    for name, said in (
        ("3f2", "3f2: several runs begin so; the study has 3f2a00000000, 3f2b00000000 …"),
        ("xyz", f"xyz: no run begins so; the study has {', '.join(IDS)} …"),
    ):
        assert isoflop("cancel", store.folder, "cc", name) == 2
        assert capsys.readouterr().err == f"isoflop: {said}\n"
    assert list(store.states().values())[-1] == "planned"
    assert chosen_runs(store, []) == set(IDS)


def test_watching_a_cancelled_study_ends(store, capsys):
    isoflop("cancel", store.folder)
    assert isoflop("status", store.folder, "--watch") == 0
    assert capsys.readouterr().out.splitlines()[1] == f"{store.folder}: not finished"
