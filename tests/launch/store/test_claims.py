"""What a worker claims: the order, packs, and runs that wait for another one of their prefix."""

import os
import time
from pathlib import Path

import pytest

from launch.store import PlannedRun, Store
from launch.store.claims import ClaimQueue


def planned(k: int, shape: str = "s", flops: float = 1e9, **fields) -> PlannedRun:
    return PlannedRun(f"{k:012x}", "grid", shape, 256, 200, flops, {}, **fields)


def new_store(folder: Path, runs: list[PlannedRun], **changes) -> Store:
    store = Store(folder, **changes)
    store.create()
    store.plan.add(runs)
    return store


def queue(store: Store, pack_size: int = 1, **fields) -> ClaimQueue:
    return ClaimQueue(store, lambda run: pack_size, newest_step, **fields)


def newest_step(out: Path) -> int:
    return int((out / "at").read_text()) if (out / "at").exists() else 0


def ids(claimed) -> list[str]:
    return [each.run.run_id for each in claimed]


def test_the_own_shape_comes_first_then_one_nobody_is_on_then_the_most_expensive(tmp_path):
    runs = [
        planned(1, "small", flops=1),
        planned(2, "small", flops=2),
        planned(3, "big", flops=9),
        planned(4, "big", flops=8),
        planned(5, "middle", flops=5),
    ]
    store = new_store(tmp_path, runs)
    order = []
    for shape in ("small", "", "big", "small", "small"):
        order += ids(queue(store, shape=shape).claim())
    # small: its dearest; a new worker: the dearest of all; big and small: their own; then what is left
    assert order == [runs[k - 1].run_id for k in (2, 3, 4, 1, 5)]
    assert queue(store, shape="small").claim() == []


def test_a_new_worker_takes_a_cheaper_shape_rather_than_one_that_is_being_compiled(tmp_path):
    runs = [planned(1, "big", flops=9), planned(2, "big", flops=8), planned(3, "small", flops=1)]
    store = new_store(tmp_path, runs)
    assert [*map(ids, (queue(store).claim() for _ in range(3)))] == [[runs[k].run_id] for k in (0, 2, 1)]


def test_a_queue_stays_with_its_shape_and_looks_again_when_it_is_used_up(tmp_path):
    runs = [planned(1, "big", flops=9), planned(2, "small", flops=5), planned(3, "big", flops=1)]
    store = new_store(tmp_path, runs)
    mine = queue(store)
    assert ids(mine.claim()) == [runs[0].run_id] and ids(mine.claim()) == [runs[2].run_id]
    assert ids(mine.claim()) == [runs[1].run_id] and mine.claim() == []
    store.plan.add([planned(4, "new")])
    assert ids(mine.claim()) == [planned(4).run_id]


def test_what_others_took_or_finished_since_the_last_look_is_passed_over(tmp_path):
    store = new_store(tmp_path, [planned(k) for k in range(6)])
    mine = queue(store)
    first = ids(mine.claim())
    mine._cost = 1e9  # as in a study so large that it is not looked at again soon
    others = [run_id for run_id in store.plan.runs() if run_id not in first]
    store.finish(store.claim(others[0]), {"status": "done", "loss": 1.0})
    store.claim(others[1])
    store.cancel(others[2:3])
    store.fail(store.claim(others[3]), "ValueError: it rests now")
    assert ids(mine.claim()) == [others[4]] and mine.claim() == []
    assert mine.more_to_come  # the one that rests


def test_a_pack_holds_runs_of_one_key_and_one_step(tmp_path):
    runs = [planned(k, pack="p") for k in range(6)] + [planned(6, pack="q"), planned(7)]
    store = new_store(tmp_path, runs)
    for k in (1, 2):
        store.run_folder(runs[k].run_id).mkdir(parents=True)
        (store.run_folder(runs[k].run_id) / "at").write_text("50")
    packs = []
    while claimed := queue(store, pack_size=3).claim():
        packs.append({int(run_id, 16) for run_id in ids(claimed)})
    assert sorted(map(sorted, packs)) == [[0, 3, 4], [1, 2], [5], [6], [7]]


@pytest.mark.parametrize("trouble", ["failed", "died"])
def test_a_run_that_gave_trouble_trains_alone(tmp_path, trouble):
    runs = [planned(k, pack="p") for k in range(4)]
    store = new_store(tmp_path, runs, backoff=0.0)
    lease = store.claim(runs[1].run_id)
    if trouble == "failed":
        store.fail(lease, "ValueError: no")
    else:
        os.utime(store.root / "lease" / f"{runs[1].run_id}.1", (time.time() - 1000,) * 2)
    packs = [ids(queue(store, pack_size=4).claim()) for _ in range(2)]
    assert sorted(map(len, packs)) == [1, 3] and [runs[1].run_id] in packs


def test_runs_of_a_prefix_wait_for_the_next_shorter_one(tmp_path):
    runs = [planned(k, trunk="t", branch_step=10 * k, flops=k) for k in (1, 2, 3)] + [planned(9, trunk="u")]
    store = new_store(tmp_path, runs)
    short, middle, long, other = (run.run_id for run in runs)
    mine = queue(store)
    assert {*ids(mine.claim()), *ids(mine.claim())} == {short, other}
    assert mine.claim() == [] and mine.more_to_come
    (store.shared_prefixes / "t" / "10").mkdir(parents=True)  # the shortest has come to its decay
    assert ids(mine.claim()) == [middle] and mine.claim() == []
    store.cancel([middle])
    (store.shared_prefixes / "t" / "10").rmdir()
    assert mine.claim() == []  # the shortest is on its way again
    store.cancel([short])  # and would be the only one to wait for
    assert ids(mine.claim()) == [long] and mine.claim() == [] and not mine.more_to_come
