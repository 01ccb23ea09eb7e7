"""Runs of reinforcement learning are runs: from a checkpoint, resumed bit for bit, packed, with rows that say
what was measured."""

import dataclasses
import json
import math

import numpy as np
import pytest

from experiments.config import RunConfig
from experiments.objective_configs import (
    ExamplesConfig,
    GoldConfig,
    GRPOConfig,
    InitConfig,
    LoRAConfig,
    PPOConfig,
    RejectionConfig,
)
from experiments.posttraining.rl import rollouts
from experiments.training.checkpoints.load import load, load_whole
from experiments.training.metrics import read
from experiments.training.train import Stopped, train, train_packed
from tests.tiers import slow_but
from tests.tiny_run import Hooks, assert_same_run, make_training_cache, training_config

SEQ_LEN, MAX_NEW, N_STEPS = 28, 6, 4
WORLD = ExamplesConfig("gold", gold=GoldConfig(n_examples=64))
KINDS = {
    "ppo": PPOConfig(max_new=MAX_NEW, epochs=2, minibatches=2, kl_target=0.01, kl_gain=1.0),
    "grpo": GRPOConfig(max_new=MAX_NEW, group_size=4),
    "rejection": RejectionConfig(max_new=MAX_NEW, n=4, sample_from="start"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of all runs of a study, of which "base" is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOFLOP_CACHE", make_training_cache(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("runs")
        train(training_config(n_tokens=64 * 4), folder / "base", Hooks())
        yield folder


def config(kind: str, init: InitConfig = InitConfig("base"), **changes) -> RunConfig:  # noqa: B008
    sizes = {"seq_len": SEQ_LEN, "batch_tokens": 8 * SEQ_LEN, "n_tokens": 8 * SEQ_LEN * N_STEPS}
    sizes |= {"n_val_tokens": 16 * SEQ_LEN}
    return dataclasses.replace(
        training_config(**sizes), init=init, examples=WORLD, objective=KINDS[kind], **changes
    )


@pytest.mark.parametrize("kind", slow_but(["ppo"], KINDS))
def test_a_run_says_what_it_measured_and_continues_bit_for_bit(kind, runs):
    row = train(config(kind), runs / kind, Hooks())
    found, beta = row["post_training"], getattr(KINDS[kind], "beta", 0.0)
    assert row["status"] == "done" and found["objective"] == kind
    assert row["loss"] == pytest.approx(beta * found["kl"] - found["reward"], abs=1e-5)
    assert found["reward"] == pytest.approx(found["gold"]) and 1 <= found["length"] <= MAX_NEW
    lines = [line for line in read(runs / kind / "metrics.jsonl") if "train_loss" in line]
    assert all(line["reward"] < 2.5 and line["length"] <= MAX_NEW for line in lines)
    if kind != "rejection":
        # The sampler's numbers are the trainer's, and the policy begins as the reference.
        assert max(line["mismatch"] for line in lines) < 1e-4
        assert abs(lines[0]["kl"]) < 1e-4 < abs(lines[-1]["kl"])
        assert {"gold", "entropy", "clip_fraction", "truncated", "kl_k3"} <= lines[-1].keys()
    if kind == "ppo":
        assert {"value_error", "explained_variance", "kl_coef"} <= lines[-1].keys()
        coefficients = [line["kl_coef"] for line in lines]
        # At first the divergence is 0, below its target, then above.
        assert coefficients[:3] == pytest.approx([beta, 0.8 * beta, 0.96 * beta])
    with pytest.raises(Stopped):
        train(config(kind), runs / f"{kind}-stopped", Hooks(2))
    train(config(kind), runs / f"{kind}-stopped", Hooks())
    assert_same_run(runs / kind, runs / f"{kind}-stopped")


@pytest.mark.slow
def test_packed_runs_are_the_runs_alone(runs):
    both = [config("ppo"), dataclasses.replace(config("ppo"), seed=1)]
    both[1] = dataclasses.replace(both[1], objective=dataclasses.replace(KINDS["ppo"], beta=0.2))
    outs = [runs / "packed-0", runs / "packed-1"]
    rows = dict(train_packed(both, outs, [Hooks(), Hooks()]))
    alone = train(config("ppo"), runs / "ppo", Hooks())
    found, other = rows[0]["post_training"], rows[1]["post_training"]
    for name in ("kl", "reward", "length"):
        assert found[name] == pytest.approx(alone["post_training"][name], abs=1e-3)
    assert other["objective_beta"] == 0.2 and other["kl"] != found["kl"]


@pytest.mark.slow
def test_adapters_of_a_policy_are_trained_while_its_value_function_is_whole(runs):
    lora = LoRAConfig(rank=2, targets=("policy/blocks/attention/w_*",))
    row = train(config("ppo", InitConfig("base", lora=lora)), runs / "lora", Hooks())
    assert row["status"] == "done"
    _, _, whole = load_whole(runs / "lora")
    (_, before), (_, after) = load(runs / "base"), load(runs / "lora")
    assert np.array_equal(before["ends"]["embedding"], after["ends"]["embedding"])
    assert not np.array_equal(before["blocks"]["attention"]["w_q"], after["blocks"]["attention"]["w_q"])
    assert not np.array_equal(before["ends"]["embedding"], whole["value"]["body"]["ends"]["embedding"])
    assert whole["kl_scale"] != 1


def test_a_reward_that_is_no_number_ends_the_run_as_diverged(runs, monkeypatch):
    monkeypatch.setattr(
        rollouts.gold, "gold_reward", lambda world, tokens_BT, *lengths: 0.0 * tokens_BT[:, 0] + math.nan
    )
    other = dataclasses.replace(KINDS["grpo"], max_new=MAX_NEW - 1)  # another shape: nothing compiled before
    run = dataclasses.replace(config("grpo"), objective=other)
    row = train(run, runs / "nan", Hooks())
    assert row["status"] == "diverged" and row["n_steps"] == 1


def test_batches_that_groups_do_not_divide_and_prompts_that_do_not_fit_are_refused(runs, tmp_path):
    run = dataclasses.replace(config("grpo"), objective=GRPOConfig(max_new=MAX_NEW, group_size=3))
    with pytest.raises(ValueError, match="makes 8 rows of seq_len=28; they must be a multiple of the 3"):
        train(run, runs / "no-groups", Hooks())
    run = dataclasses.replace(config("grpo"), objective=GRPOConfig(max_new=12))
    with pytest.raises(ValueError, match="tokens, but seq_len=28 leaves 16"):
        train(run, runs / "too-long", Hooks())
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Say {i}!"}) + "\n" for i in range(200)))
    run = dataclasses.replace(config("grpo"), examples=ExamplesConfig("prompts", str(file)))
    with pytest.raises(ValueError, match="reward='gold' is known of"):
        train(run, runs / "no-reward", Hooks())
