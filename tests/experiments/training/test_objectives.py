"""What every objective keeps: batches of the planned shapes, and the same run on a mesh."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.config import RunConfig
from experiments.data.sources import queries
from experiments.objective_configs import (
    ClassifierConfig,
    DPOConfig,
    ExamplesConfig,
    GoldConfig,
    GRPOConfig,
    InitConfig,
    PPOConfig,
    QueriesConfig,
    RejectionConfig,
    RewardConfig,
    SFTConfig,
)
from experiments.training.memory import training_memory
from experiments.training.objectives import DATA, OBJECTIVES, batch_like, data_of
from tests.models.test_sharding import on_eight_devices
from tests.tiny_run import make_training_cache, training_config

ROWS, SEQ_LEN, MAX_NEW = 8, 40, 6
RUNS = {
    "sft": SFTConfig(),
    "reward": RewardConfig(),
    "dpo": DPOConfig(),
    "ppo": PPOConfig(max_new=MAX_NEW, epochs=2, minibatches=2),
    "grpo": GRPOConfig(max_new=MAX_NEW, group_size=4),
    "rejection": RejectionConfig(max_new=MAX_NEW, n=4),
    "classifier": ClassifierConfig(queries.LABELS),
}


def run_of(kind: str, base: RunConfig) -> RunConfig:
    """Two steps of an objective, from the run "base" of the same study, on examples of the gold world, or for
    a classifier on questions."""
    sizes = {"seq_len": SEQ_LEN, "batch_tokens": ROWS * SEQ_LEN, "n_tokens": 2 * ROWS * SEQ_LEN}
    sizes |= {"n_val_tokens": 2 * ROWS * SEQ_LEN}
    examples = ExamplesConfig("gold", gold=GoldConfig(n_examples=256))
    if kind == "classifier":
        examples = ExamplesConfig("queries", queries=QueriesConfig(256))
    return dataclasses.replace(
        base, init=InitConfig("base"), examples=examples, objective=RUNS[kind], **sizes
    )


@pytest.fixture
def base(tmp_path, monkeypatch) -> RunConfig:
    monkeypatch.setenv("ISOFLOP_CACHE", make_training_cache(tmp_path / "cache"))
    return training_config()


def test_every_objective_has_data_and_is_tested():
    assert OBJECTIVES.keys() == DATA.keys() == {None, *RUNS}


@pytest.mark.parametrize("kind", RUNS)
def test_batches_have_the_planned_shapes_and_are_functions_of_seed_and_step(kind, base):
    run = run_of(kind, base)
    data = data_of(run)
    batch = data.training(3, 5, slice(None))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), batch) == jax.tree.map(
        lambda x: (x.shape, x.dtype), batch_like(run)
    )
    jax.tree.map(np.testing.assert_array_equal, batch, data.training(3, 5, slice(None)))
    part = data.training(3, 5, slice(2, 5))
    jax.tree.map(lambda whole, some: np.testing.assert_array_equal(whole[2:5], some), batch, part)
    other = data.training(4, 5, slice(None))
    assert any(not np.array_equal(batch[name], other[name]) for name in batch)
    assert len(data.validation) and data.n_train_tokens > 0 and data.tokens_an_epoch > 0


@pytest.mark.parametrize("kind", ["reward", "dpo"])
def test_ties_are_planned_where_annotators_call_some(kind, base):
    world = ExamplesConfig("gold", gold=GoldConfig(n_examples=64, indifference=0.5))
    run = dataclasses.replace(run_of(kind, base), examples=world)
    batch = data_of(run).training(0, 0, slice(None))
    assert {name: (x.shape, x.dtype) for name, x in batch.items()} == {
        name: (x.shape, x.dtype) for name, x in batch_like(run).items()
    }
    assert "tie" in batch and "tie" not in data_of(run_of(kind, base)).training(0, 0, slice(None))


@pytest.mark.parametrize("kind", RUNS)
def test_memory_of_its_step_is_planned(kind, base):
    memory, whole = training_memory(run_of(kind, base)), training_memory(base)
    networks = {"sft": 1, "reward": 1, "dpo": 2, "ppo": 3, "grpo": 2, "rejection": 2, "classifier": 1}[kind]
    assert memory.parameters == pytest.approx(networks * whole.parameters, rel=0.01)
    assert memory.activations > 0 and memory.working > 0


@pytest.mark.slow
def test_on_a_mesh_it_is_the_run_it_is_alone(tmp_path):
    """Two steps on eight devices of packed rows, of pairs with a reference, and of rollouts."""
    kinds = ("sft", "dpo", "ppo")
    (found,), _ = on_eight_devices("tests.experiments.training.sharded_objectives", str(tmp_path), *kinds)
    assert tuple(found) == kinds
    for kind, each in found.items():
        alone, mesh = each["losses"]
        assert mesh == pytest.approx(alone, abs=1e-4), kind
        assert each["gap"] < 1e-4, kind
