"""`isoflop retry`: what comes back, what does not, and what it counts."""

import pytest

from launch import cli
from launch.store import PlannedRun, Store


def planned(k: int) -> PlannedRun:
    return PlannedRun(f"{k:x}" + 11 * "0", "grid", "s", 1000, 5000, 1e9, {})


@pytest.fixture
def store(tmp_path) -> Store:
    """A done run that failed before, a failed, a cancelled, one that is tried again, and a dropped one."""
    store = Store(tmp_path, backoff=0.0)
    store.create()
    store.plan.add([planned(k) for k in range(1, 6)])
    done, failed, cancelled, tried, dropped = store.plan.runs()
    for run_id, times in ((done, 1), (failed, 3), (tried, 1), (dropped, 3)):
        for _ in range(times):
            store.fail(store.claim(run_id), "ValueError: no")
    store.finish(store.claim(done), {"status": "done", "loss": 1.0})
    store.cancel([cancelled])
    store.plan.keep_only({done, failed, cancelled, tried})
    return store


def states(store: Store) -> list[str]:
    return list(store.states().values())


def retry(store: Store, *runs: str) -> int:
    return cli.main(["retry", str(store.folder), *runs])


def test_failed_and_cancelled_runs_come_back_with_all_their_attempts(store, capsys):
    assert states(store) == ["done", "failed", "cancelled", "planned", "cancelled"]
    assert retry(store) == 0
    said = capsys.readouterr().out
    assert said == f"2 runs may be trained again; continue by `isoflop submit {store.folder}`\n"
    assert states(store) == ["done", "planned", "planned", "planned", "cancelled"]  # the last is in no study
    assert store.snapshot().attempts == {}
    assert retry(store) == 0 and capsys.readouterr().out.startswith("0 runs may")


def test_only_named_runs_come_back(store, capsys):
    assert retry(store, "3") == 0 and capsys.readouterr().out.startswith("1 run may be trained again;")
    assert states(store) == ["done", "failed", "planned", "planned", "cancelled"]
    failed, tried = list(store.plan.runs())[1], list(store.plan.runs())[3]
    assert store.snapshot().attempts[failed] == 3 and store.snapshot().attempts[tried] == 1
    assert retry(store, "9") == 2 and "9: no run begins so" in capsys.readouterr().err


def test_a_run_that_was_cancelled_after_it_failed_comes_back_whole(store):
    failed = list(store.plan.runs())[1]
    store.cancel([failed])
    retry(store, failed)
    assert store.states()[failed] == "planned" and failed not in store.snapshot().attempts
