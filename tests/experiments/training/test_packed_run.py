"""Runs that train as one program: each as if it were alone, whatever becomes of the others."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.training import metrics
from experiments.training.checkpoints.checkpoint import newest_step
from experiments.training.checkpoints.load import load
from experiments.training.train import PRETRAINING, Lost, Stopped, train, train_packed, training_functions
from models import ladder
from tests.tiny_run import Hooks, make_training_cache
from tests.tiny_run import training_config as config

TIMES = {"wall_seconds", "flops_per_second", "seconds", "n_packed"}


@pytest.fixture(autouse=True, scope="module")
def use_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOFLOP_CACHE", make_training_cache(tmp_path_factory.mktemp("cache")))
        training_functions.cache_clear()  # other modules train the same network on batches of other shapes
        yield


def runs() -> list[RunConfig]:
    """Three that differ in seed, rate and schedule; the last explodes."""
    return [
        config(),
        config(seed=1, optimizer=OptimizerConfig(lr=0.005), schedule=ScheduleConfig(decay=0.5, warmup=0.1)),
        config(seed=1, optimizer=OptimizerConfig(lr=1e4, clip_norm=math.inf)),
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, use_cache):
    """The folder where each of them was trained alone, and their rows."""
    root = tmp_path_factory.mktemp("alone")
    return root, [train(run, root / run.run_id, Hooks()) for run in runs()]


def train_all(root, hooks=None, configs=None):
    """Trains them packed, each in its folder under `root`."""
    configs = configs or runs()
    return train_packed(configs, [root / run.run_id for run in configs], hooks or [Hooks() for _ in configs])


def assert_as_alone(root, row, alone, i: int = 0) -> None:
    """Equal to rounding: losses to 1e-5 (measured 2e-7), parameters to 1e-3 of the largest (2e-6)."""
    other, expected = alone[0] / row["run_id"], alone[1][i]
    exact = {name for name, value in expected.items() if not isinstance(value, float) or math.isinf(value)}
    for name in expected.keys() - TIMES:
        if name in exact:
            assert row[name] == expected[name], name
        else:
            assert row[name] == pytest.approx(expected[name], rel=1e-4, nan_ok=True), name
    mine, theirs = (metrics.read(path / "metrics.jsonl") for path in (root / row["run_id"], other))
    for line, like in zip(mine, theirs, strict=True):
        assert line == pytest.approx(like, rel=1e-3, nan_ok=True) and line["step"] == like["step"]
    if row["status"] == "done":
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        mine, theirs = load(root / row["run_id"])[1], load(other)[1]
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-3 * np.abs(y).max()), mine, theirs)


def test_each_packed_run_is_what_it_is_alone(tmp_path, alone):
    ended = train_all(tmp_path)
    first = next(ended)
    assert first[0] == 2 and first[1]["status"] == "diverged", "its row comes when it diverges"
    assert newest_step(tmp_path / runs()[0].run_id) == 0, "the others have not come to a checkpoint yet"
    rows = dict([first, *ended])
    assert [rows[i]["status"] for i in range(3)] == ["done", "done", "diverged"]
    for i, row in rows.items():
        assert_as_alone(tmp_path, row, alone, i)
        written = json.loads((tmp_path / row["run_id"] / "config.json").read_text())
        assert written == json.loads((alone[0] / row["run_id"] / "config.json").read_text())
        assert row["n_packed"] == 3 and newest_step(tmp_path / row["run_id"]) == (0 if i == 2 else 40)
    assert rows[0]["seconds"] == rows[1]["seconds"], "each has its share of the time of all"


def test_of_a_lost_run_nothing_is_written_any_more(tmp_path, alone):
    hooks = [Hooks(), Hooks(lost_at=20), Hooks()]
    rows = dict(train_all(tmp_path, hooks))
    assert set(rows) == {0, 2} and hooks[1].seen == 20
    assert_as_alone(tmp_path, rows[0], alone)
    lost = tmp_path / runs()[1].run_id
    assert metrics.read(lost / "metrics.jsonl")[-1]["step"] <= 20 and newest_step(lost) == 0
    assert list(train_all(tmp_path / "all", [Hooks(lost_at=5) for _ in range(3)])) == []
    with pytest.raises(Lost):
        train(runs()[0], tmp_path / "one", Hooks(lost_at=5))


def test_runs_that_stopped_together_continue_alone(tmp_path, alone):
    with pytest.raises(Stopped):
        list(train_all(tmp_path, [Hooks(), Hooks(stop_at=12), Hooks()]))
    (step,) = {newest_step(tmp_path / run.run_id) for run in runs()[:2]}
    assert 12 <= step < 20
    for i, run in enumerate(runs()[:2]):
        hooks = Hooks()
        row = train(run, tmp_path / run.run_id, hooks)
        assert row["n_packed"] == 1 and hooks.seen == 40 - step
        assert_as_alone(tmp_path, row, alone, i)


def test_runs_that_began_alone_continue_packed_where_all_can(tmp_path, alone, capsys):
    """From the newest step that each of them can read: the newest checkpoint of one is damaged."""
    configs = [*runs()[:2], config(seed=5)]
    for run in configs:
        for _ in range(2):
            with pytest.raises(Stopped):
                train(run, tmp_path / run.run_id, Hooks(stop_at=10))
    folder = tmp_path / configs[1].run_id / "checkpoints"
    first, newest = sorted(int(path.name) for path in folder.glob("[0-9]*"))
    for path in (folder / str(newest)).rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    hooks = [Hooks() for _ in configs]
    rows = dict(train_all(tmp_path, hooks, configs))
    assert capsys.readouterr().err.count("cannot be read") == 1
    assert [each.seen for each in hooks] == [40 - first] * 3
    for i in range(2):
        assert_as_alone(tmp_path, rows[i], alone, i)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["moe", "rwkv7"])
def test_networks_that_sort_and_scan_train_together(family, tmp_path):
    """For six steps only."""
    configs = [config(model=ladder(16, 259, family), seed=seed, n_tokens=64 * 6) for seed in (0, 1)]
    rows = dict(train_all(tmp_path, configs=configs))
    row = train(configs[1], tmp_path / "alone", Hooks())
    assert rows[1]["loss"] == pytest.approx(row["loss"], rel=1e-5)
    assert rows[0]["loss"] != rows[1]["loss"] and rows[0]["status"] == "done"


def test_packed_runs_of_one_number_compile_once():
    """Whatever their numbers and seeds, and whether they begin or go on; the tests above trained five."""
    for n_runs in (1, 3):
        assert (
            training_functions(runs()[0].model, "adamw", "wsd", None, n_runs, PRETRAINING).step._cache_size()
            == 1
        )


@pytest.mark.parametrize("change", [{"n_tokens": 64 * 41}, {"seq_len": 8}, {"n_val_tokens": 64}])
def test_runs_that_differ_in_more_than_numbers_are_refused(change, tmp_path):
    configs = [config(), config(), dataclasses.replace(config(), **change)]
    with pytest.raises(ValueError, match="only runs of one pack_key train together"):
        list(train_all(tmp_path, configs=configs))
    assert not any(tmp_path.iterdir())
