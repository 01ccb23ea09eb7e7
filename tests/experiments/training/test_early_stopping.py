"""Early stopping: a run ends when it has got no better for a while and keeps its best, resumed or not."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.objective_configs import ExamplesConfig, GoldConfig, SFTConfig
from experiments.training import metrics
from experiments.training.checkpoints.load import load
from experiments.training.metrics import best, even_steps, is_over
from experiments.training.train import Stopped, train
from models import ladder
from tests.tiny_run import Hooks, make_training_cache, training_config


def lines(*losses):
    return [{"step": i, "val_loss": loss} for i, loss in enumerate(losses, 1)]


def test_the_first_of_the_lowest_is_best():
    assert best(lines(3, 1, 2, 1)) == {"step": 2, "val_loss": 1}
    assert best(lines(float("nan"), 2)) == {"step": 2, "val_loss": 2}
    assert best([]) is None


@pytest.mark.parametrize(
    ("losses", "patience", "over"),
    [
        ((3, 2, 1), 1, False),
        ((3, 2, 2), 1, True),
        ((3, 2, 4), 2, False),
        ((3, 2, 4, 3), 2, True),
        ((3, 2, 4, 1), 2, False),
        ((1, 2, 3, 4), 0, False),
        ((), 1, False),
    ],
)
def test_patience(losses, patience, over):
    assert is_over(lines(*losses), patience) is over


def test_evaluations_are_evenly_spaced_to_the_end():
    assert even_steps(160, 16) == frozenset(range(10, 161, 10))
    assert even_steps(3, 16) == {1, 2, 3}
    assert max(even_steps(101, 16)) == 101


@pytest.fixture(scope="module")
def overfitting(tmp_path_factory):
    """A run that learns few demonstrations by heart."""
    root = tmp_path_factory.mktemp("early")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOFLOP_CACHE", make_training_cache(root / "cache"))
        config = training_config(
            model=ladder(32, 259),
            examples=ExamplesConfig("gold", gold=GoldConfig(n_examples=16)),
            objective=SFTConfig(patience=3),
            seq_len=32,
            batch_tokens=32 * 8,
            n_tokens=32 * 8 * 160,
            n_val_tokens=32 * 8,
        )
        config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, lr=0.03))
        yield config, root, train(config, root / "whole", Hooks())


def test_a_run_ends_at_its_best(overfitting):
    config, root, row = overfitting
    evaluated = [line for line in metrics.read(root / "whole/metrics.jsonl") if "val_loss" in line]
    lowest = min(line["val_loss"] for line in evaluated)
    assert row["status"] == "done" and row["loss"] == lowest
    assert row["n_steps"] == evaluated[-4]["step"]  # three evaluations after it were worse
    assert row["post_training"]["stopped_after"] == evaluated[-1]["step"] < config.n_steps
    assert row["n_tokens"] == row["n_steps"] * config.batch_tokens
    steps = [int(path.name) for path in (root / "whole/checkpoints").glob("[0-9]*")]
    assert steps == [row["n_steps"]]


def test_a_run_that_is_interrupted_stops_at_the_same_step_with_the_same_parameters(overfitting):
    config, root, row = overfitting
    hooks = [Hooks(stop_at=row["n_steps"] + 5), Hooks(stop_at=7), Hooks()]
    for hook in hooks[:-1]:  # after its best, and once more
        with pytest.raises(Stopped):
            train(config, root / "parts", hook)
    again = train(config, root / "parts", hooks[-1])
    assert (root / "parts/metrics.jsonl").read_bytes() == (root / "whole/metrics.jsonl").read_bytes()
    same = ("loss", "n_steps", "n_tokens", "flops", "post_training")
    assert {name: again[name] for name in same} == {name: row[name] for name in same}
    one, other = load(root / "whole")[1], load(root / "parts")[1]
    jax.tree.map(np.testing.assert_array_equal, one, other)
