"""How far a study is, in numbers from the store, and how long the rest takes."""

import pytest

from launch.monitor.progress import FAILURES_SHOWN, Failure, read_progress
from launch.monitor.speed import RESULTS_A_SIZE, run_seconds
from launch.store import STATES, PlannedRun, Store


def planned(k: int, stage: str = "grid", n_params: int = 1000, flops: float = 1e9) -> PlannedRun:
    return PlannedRun(f"{k:012x}", stage, "s", n_params, 5000, flops, {"optimizer": {"lr": 0.01}})


def result(loss: float = 2.0, status: str = "done", flops_per_second: float = 1e8) -> dict:
    row = {"status": status, "loss": loss, "n_params": 1000, "wall_seconds": 12.3}
    return row | {"flops_per_second": flops_per_second}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path, backoff=0.0)
    store.create()
    return store


def say_progress(store: Store, run_id: str, step: int) -> dict:
    seen = f'{{"step": {step}, "n_steps": 100, "tokens_per_second": 1000, "loss": 2.5}}'
    (store.root / "progress" / run_id).write_text(seen)
    return store.progress(run_id)


def test_a_snapshot_counts_states_by_stage(store):
    store.plan.add([planned(1, "tune"), planned(2, "tune"), *(planned(k) for k in range(3, 7))])
    ids = list(store.plan.runs())
    store.finish(store.claim(ids[0]), result())
    store.finish(store.claim(ids[1]), result(float("inf"), "diverged"))
    for _ in range(store.max_attempts):
        store.fail(store.claim(ids[2]), "ValueError: no")
    store.claim(ids[3])
    seen_of_run = say_progress(store, ids[3], 50)
    seen = read_progress(store, 2)
    assert seen.stages == {
        "tune": dict.fromkeys(STATES, 0) | {"done": 1, "diverged": 1},
        "grid": dict.fromkeys(STATES, 0) | {"failed": 1, "running": 1, "planned": 2},
    }
    assert seen.states[ids[3]] == "running" and seen.ended == set(ids[:2])
    assert seen.running == [(store.plan.runs()[ids[3]], seen_of_run)]
    assert seen.failures == [Failure(ids[2], "ValueError: no", 3, "failed")]
    assert seen.tokens_per_second == 1000 and seen.count("done", "diverged") == 2


def test_time_left_is_work_over_speed_shared_by_workers(store):
    store.plan.add([planned(1), *(planned(k) for k in range(2, 6))])
    assert read_progress(store, 2).seconds_left is None  # no speed is known yet
    store.finish(store.claim(next(iter(store.plan.runs()))), result(flops_per_second=1e8))
    assert read_progress(store, 2).seconds_left == pytest.approx(4 * 10 / 2)
    assert read_progress(store, 100).seconds_left == pytest.approx(10)  # a run is not split


def test_time_left_counts_what_a_running_run_has_done(store):
    store.plan.add([planned(1)])
    (run_id,) = store.plan.runs()
    store.claim(run_id)
    say_progress(store, run_id, 75)
    # 1000 tokens/s of 5000 tokens: 5 s, a quarter of which is left
    assert read_progress(store, 1).seconds_left == pytest.approx(1.25)


def test_runs_of_a_pack_share_one_worker(store):
    store.plan.add([planned(k) for k in range(6)])
    for run_id in list(store.plan.runs())[:2]:
        store.claim(run_id)  # both by this process
        say_progress(store, run_id, 50)
    seen = read_progress(store)
    # Each at 1000 tokens/s of 5000 tokens: the worker does 2000, and has 4 runs and two halves left.
    assert seen.n_workers == 1 and seen.seconds_left == pytest.approx(5 * 2.5)
    assert seen.worker_seconds == pytest.approx((2.5, 5 * 2.5))


def test_few_results_are_read_and_few_failures_shown_however_many_there_are(store, monkeypatch):
    store.plan.add([planned(k, n_params=1000 + k % 2) for k in range(80)])
    for k, run_id in enumerate(list(store.plan.runs())[:60]):
        if k < 30:
            store.finish(store.claim(run_id), result(flops_per_second=1e8) | {"n_params": 1000 + k % 2})
        else:
            store.fail(store.claim(run_id), "ValueError: no")
    read = []
    monkeypatch.setattr(store, "result", lambda run_id: read.append(run_id) or {"flops_per_second": 1e8})
    seen = read_progress(store, 1)
    assert len(read) == 2 * RESULTS_A_SIZE and len(seen.failures) == FAILURES_SHOWN
    assert seen.worker_seconds == pytest.approx((30 * 10, 50 * 10))


def test_speed_is_taken_from_the_model_nearest_in_size(store):
    rates = {100: 1.0, 10_000: 50.0}
    assert run_seconds(planned(1, n_params=300, flops=100.0), rates) == 100
    assert run_seconds(planned(1, n_params=3000, flops=100.0), rates) == 2


def test_nothing_is_left_of_a_finished_study(store):
    store.plan.add([planned(1)])
    store.finish(store.claim(next(iter(store.plan.runs()))), result())
    assert read_progress(store, 2).seconds_left == 0
