"""Training: resumes bit for bit, compiles once a shape, knows a diverged run, learns."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.config import OptimizerConfig, ScheduleConfig
from experiments.data.batches import validation_batches
from experiments.fields import to_json
from experiments.training import metrics
from experiments.training.checkpoints.load import load
from experiments.training.optim import hyperparameters
from experiments.training.train import PRETRAINING, Stopped, train, training_functions
from models import FAMILIES, count, ladder
from tests.tiers import slow_but
from tests.tiny_run import Hooks, assert_same_run, make_training_cache
from tests.tiny_run import training_config as config


@pytest.fixture(autouse=True, scope="module")
def use_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOFLOP_CACHE", make_training_cache(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, use_cache) -> tuple[Path, dict]:
    """The folder of `config()`, trained without interruption, and its row."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(config(), folder, Hooks())


def test_a_run_learns_and_reports_what_it_did(whole):
    run, (folder, row) = config(), whole
    assert row["status"] == "done" and row["run_id"] == run.run_id
    assert row["n_steps"] == 40 and row["n_tokens"] == 64 * 40
    assert row["flops"] == 64 * 40 * count(run.model).flops_per_token(16)
    events = metrics.read(folder / "metrics.jsonl")
    first = next(event["train_loss"] for event in events if "train_loss" in event)
    assert row["loss"] < 3.5 < 5 < first
    evaluations = [event for event in events if "val_loss" in event]
    assert [event["step"] for event in evaluations] == [1, 2, 5, 10, 20, 40]
    assert evaluations[-1]["val_loss"] == row["loss"] and row["val_tokens"] == 128


def test_validation_loss_is_the_mean_over_the_leading_rows(whole):
    run, (folder, row) = config(), whole
    tokens = np.fromfile(Path(os.environ["ISOFLOP_CACHE"]) / "docstrings-tiny/validation/tokens.bin", "<u2")
    rows = np.concatenate(validation_batches(tokens, 4, 16, 160))
    np.testing.assert_array_equal(rows, [tokens[16 * i : 16 * i + 17] for i in range(8)])
    compiled = training_functions(run.model, "adamw", "wsd", None, 1)
    params, hyper = load(folder)[1], hyperparameters(run)
    losses = [x for part in (rows[:4], rows[4:]) for x in compiled.measure(params, part, hyper)["loss"]]
    assert row["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert row["loss_se"] == pytest.approx(np.std(losses, ddof=1) / np.sqrt(8), rel=1e-5)


def test_stopping_anywhere_and_continuing_changes_no_bit(tmp_path, whole):
    """A short run at every second step, a longer one a few times and once near its end."""
    short = config(n_tokens=64 * 10)
    train(short, tmp_path / "short", Hooks())
    for run, stop_at, expected in (
        (short, 1, tmp_path / "short"),
        *((config(), k, whole[0]) for k in (9, 38)),
    ):
        out = tmp_path / str(stop_at)
        while True:  # each part makes at least one step
            try:
                train(run, out, Hooks(stop_at))
                break
            except Stopped:
                pass
        assert_same_run(expected, out)


@pytest.mark.parametrize("family", slow_but(["transformer"], FAMILIES))
def test_every_family_learns_and_resumes(family, tmp_path):
    """One word of the configuration changes the network; loop, table and checkpoints are the same."""
    run = config(model=ladder(16, 259, family), n_tokens=64 * 30)
    row = train(run, tmp_path / "whole", Hooks())
    assert row["status"] == "done" and row["family"] == run.model.family
    assert row["n_active"] == count(run.model).n_active <= row["n_params"]
    events = metrics.read(tmp_path / "whole/metrics.jsonl")
    assert row["loss"] < 0.9 * next(event["train_loss"] for event in events if "train_loss" in event)
    with pytest.raises(Stopped):
        train(run, tmp_path / "parts", Hooks(stop_at=11))
    (tmp_path / "parts/metrics.jsonl").unlink()  # checkpoints have its lines, too
    train(run, tmp_path / "parts", Hooks())
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


CHILD = """
import json, sys
from pathlib import Path
import experiments.training.packed_run as packed_run
from experiments.training.train import train
from experiments.config import RunConfig
from experiments.fields import from_json
packed_run.CHECKPOINT_SECONDS = 0.02
class Hooks:
    def should_stop(self): return False
    def lost(self): return False
    def progress(self, step, *_): print(step, flush=True)
train(from_json(RunConfig, json.loads(sys.argv[1])), Path(sys.argv[2]), Hooks())
"""


@pytest.mark.slow
def test_kill_9_at_random_times_changes_no_bit(tmp_path):
    run = config(n_tokens=64 * 120)
    argument = json.dumps(to_json(run))
    rng = np.random.default_rng(0)

    def start(out: Path) -> subprocess.Popen:
        command = [sys.executable, "-c", CHILD, argument, str(out)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    train(run, tmp_path / "whole", Hooks())
    kills, first_steps = 0, []
    while True:
        child = start(tmp_path / "killed")
        assert child.stdout is not None
        first_steps.append(int(child.stdout.readline()))
        if kills == 2:
            child.communicate(timeout=300)
            assert child.returncode == 0
            break
        for _ in range(int(rng.integers(10, 50))):  # steps it may make before the kill
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        child.stdout.close()
    assert kills == 2 and first_steps[-1] > 1, "it went on from a checkpoint"
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(tmp_path, capsys, whole):
    with pytest.raises(Stopped):
        train(config(), tmp_path / "run", Hooks(10))
    with pytest.raises(Stopped):
        train(config(), tmp_path / "run", Hooks(10))
    newest = max((tmp_path / "run" / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    for path in newest.rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    train(config(), tmp_path / "run", Hooks())
    said = [line for line in capsys.readouterr().err.splitlines() if "cannot be read" in line]
    assert len(said) == 1 and f"checkpoints/{newest.name}" in said[0]
    assert_same_run(whole[0], tmp_path / "run")


def test_a_grid_compiles_once_a_shape(tmp_path):
    """6 runs of 2 shapes that differ in rate, decay, warm-up, length and seed: 2 compilations."""
    training_functions.cache_clear()
    shapes = [ladder(16, 259), ladder(24, 259)]
    for i in range(6):
        run = config(
            model=shapes[i % 2],
            optimizer=OptimizerConfig(lr=0.01 + 0.001 * i, weight_decay=0.01 * i, b2=0.9 + 0.001 * i),
            schedule=ScheduleConfig(warmup=0.01 * i, decay=0.05 * i),
            n_tokens=64 * (3 + i),
            seed=i,
        )
        train(run, tmp_path / str(i), Hooks())
    sizes = [
        training_functions(shape, "adamw", "wsd", None, 1, PRETRAINING).step._cache_size() for shape in shapes
    ]
    assert sizes == [1, 1]


def test_an_exploding_run_ends_as_diverged(tmp_path):
    row = train(config(optimizer=OptimizerConfig(lr=1e4, clip_norm=math.inf)), tmp_path, Hooks())
    assert row["status"] == "diverged" and row["loss"] == math.inf
    assert 1 <= row["n_steps"] < 40
    assert metrics.read(tmp_path / "metrics.jsonl")[-1]["step"] == row["n_steps"]


def test_seeds_change_weights_and_data_and_nothing_else_does(tmp_path, whole):
    same, other = (train(config(seed=seed), tmp_path / str(seed), Hooks())["loss"] for seed in (0, 1))
    assert same == whole[1]["loss"] != other


def test_a_vocabulary_smaller_than_the_datas_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"vocab_size=200, but the data's tokenizer 'bytes' has 259"):
        train(config(model=ladder(16, 200)), tmp_path, Hooks())


def test_a_network_larger_than_the_memory_is_refused_before_it_is_made(tmp_path):
    with pytest.raises(ValueError, match=r"parameters alone take 52,777.9 GB, and there are"):
        train(config(model=ladder(2**15, 259)), tmp_path, Hooks())


def test_too_few_validation_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="needs two"):
        train(config(n_val_tokens=16), tmp_path, Hooks())
