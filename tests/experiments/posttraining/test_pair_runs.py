"""Runs on pairs of responses are runs: from a checkpoint, resumed bit for bit, in parts, packed."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.config import RunConfig
from experiments.objective_configs import (
    DPOConfig,
    ExamplesConfig,
    GoldConfig,
    GRPOConfig,
    InitConfig,
    LoRAConfig,
    RewardConfig,
)
from experiments.posttraining import gold
from experiments.training.checkpoints.load import load, load_whole
from experiments.training.metrics import read
from experiments.training.train import Stopped, train, train_packed, training_functions
from tests.tiers import slow_but
from tests.tiny_run import Hooks, assert_same_run, make_training_cache, training_config

SEQ_LEN, N_STEPS = gold.PROMPT_LENGTH + gold.MAX_NEW, 4
WORLD = ExamplesConfig("gold", gold=GoldConfig(n_examples=24))
KINDS = {"reward": RewardConfig(), "dpo": DPOConfig()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of all runs of a study, of which "base" is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOFLOP_CACHE", make_training_cache(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("runs")
        train(training_config(n_tokens=64 * 4), folder / "base", Hooks())
        yield folder


def config(kind: str, **changes) -> RunConfig:
    sizes = {"seq_len": SEQ_LEN, "batch_tokens": 4 * SEQ_LEN, "n_tokens": 4 * SEQ_LEN * N_STEPS}
    sizes |= {"n_val_tokens": 8 * SEQ_LEN}
    given = {"init": InitConfig("base"), "examples": WORLD, "objective": KINDS[kind]} | changes
    return dataclasses.replace(training_config(**sizes), **given)


@pytest.mark.parametrize("kind", slow_but(["dpo"], KINDS))
def test_a_run_starts_from_its_checkpoint_and_continues_bit_for_bit(kind, runs):
    row = train(config(kind), runs / kind, Hooks())
    found = row["post_training"]
    lines = [line for line in read(runs / kind / "metrics.jsonl") if "train_loss" in line]
    assert row["status"] == "done" and found["objective"] == kind and found["init"] == "base"
    assert {"accuracy", "gold_accuracy", "reward_margin"} <= found.keys()
    assert row["epochs"] == pytest.approx(4 * N_STEPS / 24)
    # Nothing is preferred at the start: a coin's loss, and no margin.
    assert lines[0]["train_loss"] == pytest.approx(np.log(2), abs=1e-5)
    assert lines[0]["reward_margin"] == pytest.approx(0, abs=1e-5) != lines[-1]["reward_margin"]
    with pytest.raises(Stopped):
        train(config(kind), runs / f"{kind}-stopped", Hooks(2))
    train(config(kind), runs / f"{kind}-stopped", Hooks())
    assert_same_run(runs / kind, runs / f"{kind}-stopped")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_in_parts_is_the_batch(kind, runs):
    """Of runs that the test above trained, if it ran."""
    train(config(kind), runs / kind, Hooks())
    train(config(kind, micro_batches=2), runs / f"{kind}-parts", Hooks())
    whole, parts = (load_whole(runs / name)[2] for name in (kind, f"{kind}-parts"))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-4), whole, parts)


@pytest.mark.slow
def test_adapters_leave_the_reference_what_it_was(runs):
    """DPO of adapters alone: the reference is the checkpoint's, the trained network another one."""
    lora = InitConfig("base", lora=LoRAConfig(rank=2))
    row = train(config("dpo", init=lora), runs / "lora", Hooks())
    assert row["post_training"]["kl"] > 0
    base, trained = load(runs / "base")[1], load(runs / "lora")[1]
    changed = jax.tree.leaves(jax.tree.map(lambda x, y: bool(np.any(x != y)), base, trained))
    assert any(changed) and not all(changed)


@pytest.mark.slow
def test_settings_of_dpo_are_traced_so_runs_train_as_one_program(runs):
    both = [config("dpo"), config("dpo", objective=DPOConfig(beta=0.5, label_smoothing=0.1))]
    rows = dict(train_packed(both, [runs / "packed-0", runs / "packed-1"], [Hooks(), Hooks()]))
    alone = train(config("dpo"), runs / "dpo", Hooks())
    assert rows[0]["loss"] == pytest.approx(alone["loss"], abs=1e-4)
    assert rows[1]["post_training"]["objective_beta"] == 0.5 and rows[1]["loss"] != rows[0]["loss"]


@pytest.mark.slow
def test_a_reward_model_is_what_reinforcement_learning_maximises(runs):
    """By its run's id; the true reward is reported beside it. Another of its size needs no program more."""
    train(config("reward"), runs / "reward", Hooks())
    objective = GRPOConfig(reward="reward", max_new=6, group_size=2)
    policy = config("reward", objective=objective)
    row = train(policy, runs / "grpo", Hooks())
    found = row["post_training"]
    assert row["status"] == "done" and np.isfinite(found["reward"])
    assert found["reward"] != pytest.approx(found["gold"], abs=1e-3)
    train(config("reward", seed=1), runs / "other", Hooks())
    n_programs = training_functions.cache_info().misses
    against = dataclasses.replace(policy, objective=dataclasses.replace(objective, reward="other"))
    assert against.run_id != policy.run_id and against.pack_key != policy.pack_key
    row = train(against, runs / "grpo-other", Hooks())
    assert row["status"] == "done" and row["post_training"]["reward"] != found["reward"]
    assert training_functions.cache_info().misses == n_programs
