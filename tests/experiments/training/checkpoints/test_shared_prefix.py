"""Shared prefixes: runs take over each other's steps and end as if they had not, to the bit."""

import contextlib
import dataclasses
from pathlib import Path

import jax.numpy as jnp
import pytest

from experiments.config import RunConfig, ScheduleConfig
from experiments.training import metrics
from experiments.training.checkpoints import shared_prefix
from experiments.training.checkpoints.checkpoint import newest_step
from experiments.training.train import Stopped, train, train_packed
from tests.tiny_run import Hooks, assert_same_run, make_training_cache
from tests.tiny_run import training_config as config

TIMES = {"wall_seconds", "flops_per_second", "seconds", "trunk_steps"}
STEPS = (20, 37, 60)
BRANCHES = (14, 26, 42)


@pytest.fixture(autouse=True, scope="module")
def use_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOFLOP_CACHE", make_training_cache(tmp_path_factory.mktemp("cache")))
        yield


def ladder_of_budgets() -> list[RunConfig]:
    schedule = ScheduleConfig(warmup_tokens=64 * 6)
    return [config(n_tokens=64 * n_steps, schedule=schedule) for n_steps in STEPS]


@pytest.fixture(scope="module")
def without(tmp_path_factory, use_cache):
    """The folder where each run was trained on its own, and their rows."""
    root = tmp_path_factory.mktemp("without")
    return root, [train(run, root / run.run_id, Hooks()) for run in ladder_of_budgets()]


def branch_steps(root: Path) -> list[int]:
    (folder,) = root.glob("trunks/*")
    return sorted(int(path.name) for path in folder.iterdir())


def assert_as_without(root: Path, rows: list[dict], without) -> None:
    for row, expected in zip(rows, without[1], strict=True):
        assert_same_run(root / row["run_id"], without[0] / row["run_id"])
        assert {k: v for k, v in row.items() if k not in TIMES} == {
            k: v for k, v in expected.items() if k not in TIMES
        }


def test_a_ladder_with_shared_prefixes_equals_one_without_to_the_bit(tmp_path, without):
    runs, hooks = ladder_of_budgets(), [Hooks() for _ in STEPS]
    assert tuple(run.branch_step for run in runs) == BRANCHES
    rows = [train(run, tmp_path / run.run_id, h, None, tmp_path / "trunks") for run, h in zip(runs, hooks)]
    assert [row["trunk_steps"] for row in rows] == [0, *BRANCHES[:2]]
    assert [h.seen for h in hooks] == [STEPS[0], STEPS[1] - BRANCHES[0], STEPS[2] - BRANCHES[1]]
    assert branch_steps(tmp_path) == list(BRANCHES)
    assert_as_without(tmp_path, rows, without)


def test_in_any_order_and_stopped_at_any_time(tmp_path, without):
    """The longest first, all stopped every few steps: before, at and after where they branch off."""
    runs, rows = ladder_of_budgets(), {}
    for run in (runs[2], runs[0], runs[1]):
        while run not in rows:
            with contextlib.suppress(Stopped):
                rows[run] = train(run, tmp_path / run.run_id, Hooks(stop_at=6), None, tmp_path / "trunks")
    assert [rows[run]["trunk_steps"] for run in runs] == [0, BRANCHES[0], 0]
    assert_as_without(tmp_path, [rows[run] for run in runs], without)


def test_a_run_takes_over_only_what_is_ahead_of_its_own_checkpoint(tmp_path, without):
    short, _, long = ladder_of_budgets()
    with pytest.raises(Stopped):
        train(long, tmp_path / long.run_id, Hooks(stop_at=30), None, tmp_path / "trunks")
    train(short, tmp_path / short.run_id, Hooks(), None, tmp_path / "trunks")
    own = newest_step(tmp_path / long.run_id)
    hooks = Hooks()
    row = train(long, tmp_path / long.run_id, hooks, None, tmp_path / "trunks")
    assert own > BRANCHES[0] and hooks.seen == STEPS[2] - own and row["trunk_steps"] == 0
    assert_same_run(tmp_path / long.run_id, without[0] / long.run_id)


def test_a_damaged_branch_checkpoint_is_passed_over_and_replaced(tmp_path, without, capsys):
    runs = ladder_of_budgets()
    for run in runs[:2]:
        train(run, tmp_path / run.run_id, Hooks(), None, tmp_path / "trunks")
    for path in (tmp_path / "trunks" / runs[0].prefix_key / str(BRANCHES[1])).rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    row = train(runs[2], tmp_path / runs[2].run_id, Hooks(), None, tmp_path / "trunks")
    assert row["trunk_steps"] == BRANCHES[0] and "cannot be read" in capsys.readouterr().err
    assert_same_run(tmp_path / runs[2].run_id, without[0] / runs[2].run_id)
    again = dataclasses.replace(runs[1], schedule=dataclasses.replace(runs[1].schedule, final=0.1))
    assert again.prefix_key == runs[1].prefix_key  # branches off at the damaged checkpoint
    train(again, tmp_path / "again", Hooks(), None, tmp_path / "trunks")
    restored = shared_prefix.SharedPrefix(tmp_path / "trunks", again).checkpoints.read(BRANCHES[1], meta=None)
    assert restored["meta"]["step"] == BRANCHES[1]


def test_killed_while_it_saves_a_branch_checkpoint(tmp_path, without, monkeypatch):
    """There is none then; started again the run saves a whole one and ends as if nothing had been."""
    short, second, _ = ladder_of_budgets()

    def killed(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shared_prefix, "_rename_if_free", killed)
        with pytest.raises(KeyboardInterrupt):
            train(short, tmp_path / short.run_id, Hooks(), None, tmp_path / "trunks")
    assert not (tmp_path / "trunks" / short.prefix_key / str(BRANCHES[0])).exists()
    rows = [train(run, tmp_path / run.run_id, Hooks(), None, tmp_path / "trunks") for run in (short, second)]
    assert [row["trunk_steps"] for row in rows] == [0, BRANCHES[0]]
    for row in rows:
        assert_same_run(tmp_path / row["run_id"], without[0] / row["run_id"])


def test_of_two_that_save_the_same_branch_checkpoint_the_first_wins(tmp_path, monkeypatch):
    """The second has written its own when it finds the place taken; nothing else stays behind."""
    run, rename = ladder_of_budgets()[0], shared_prefix._rename_if_free

    def save(by: int) -> None:
        state = {"w": jnp.full(1000, by)}, {"m": jnp.zeros(2)}
        shared_prefix.SharedPrefix(tmp_path / "trunks", run).save(3, *state, {"by": by})

    def slow_rename(*where: Path) -> None:
        monkeypatch.setattr(shared_prefix, "_rename_if_free", rename)
        save(by=1)
        rename(*where)

    monkeypatch.setattr(shared_prefix, "_rename_if_free", slow_rename)
    save(by=2)
    assert branch_steps(tmp_path) == [3] and len(list((tmp_path / "trunks").iterdir())) == 1
    found = shared_prefix.SharedPrefix(tmp_path / "trunks", run).checkpoints.read(
        3, params={"w": jnp.zeros(1000)}, meta=None
    )
    assert found["meta"] == {"by": 1} and float(found["params"]["w"][0]) == 1


@pytest.mark.slow
def test_packed_runs_take_over_the_same_steps_of_their_prefixes(tmp_path, without):
    short, _, long = ladder_of_budgets()
    other = dataclasses.replace(long, seed=1)
    for run in (short, dataclasses.replace(short, seed=1)):
        train(run, tmp_path / run.run_id, Hooks(), None, tmp_path / "trunks")
    outs = [tmp_path / "long", tmp_path / "other"]
    rows = dict(train_packed([long, other], outs, [Hooks(), Hooks()], None, tmp_path / "trunks"))
    assert [rows[i]["trunk_steps"] for i in range(2)] == [BRANCHES[0]] * 2
    assert rows[0]["loss"] == pytest.approx(without[1][2]["loss"], rel=1e-5)
    lines = [metrics.read(path / "metrics.jsonl") for path in (tmp_path / "long", without[0] / long.run_id)]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    assert lines[0][:5] == lines[1][:5], "of the prefix"
