"""Batches of pairs token by token; what is left out; both kinds of examples as data of a run."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.vocab import ByteVocab
from experiments.data_configs import DataConfig
from experiments.objective_configs import DPOConfig, ExamplesConfig, GoldConfig, InitConfig, RewardConfig
from experiments.posttraining import gold
from experiments.posttraining.data.chat_template import default_template
from experiments.posttraining.data.conversations import Turn
from experiments.posttraining.data.pair_batches import data, open_pairs
from models import ladder

TEMPLATE = default_template(ByteVocab())
SHAPES = {
    **{name: ("int32", (8, 16)) for name in ("chosen", "rejected")},
    **{f"{name}_lengths": ("int32", (8,)) for name in ("chosen", "rejected", "prompt")},
    "margin": ("float32", (8,)),
}


def config_of(examples: ExamplesConfig, seq_len: int = 16) -> RunConfig:
    return RunConfig(
        model=ladder(16, 259),
        data=DataConfig(),
        optimizer=OptimizerConfig(lr=0.01),
        schedule=ScheduleConfig(),
        batch_tokens=8 * seq_len,
        seq_len=seq_len,
        n_tokens=80 * seq_len,
        examples=examples,
        objective=RewardConfig(),
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A run on a hundred pairs, two of which have a long side; 50 prompts, two pairs each."""
    folder = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch, open(folder / "pairs.jsonl", "w") as file:
        patch.setenv("ISOFLOP_CACHE", str(folder))
        for k in range(100):
            said = "x" * 30 if k in (7, 40) else f"r{k}"
            pair = {"prompt": f"q{k // 2}", "chosen": f"c{k}", "rejected": said, "margin": k}
            file.write(json.dumps(pair) + "\n")
        file.flush()
        yield config_of(ExamplesConfig("preferences", str(folder / "pairs.jsonl")))


def shapes(batch) -> dict:
    return {name: (array.dtype.name, array.shape) for name, array in batch.items()}


def test_batches_hold_prompt_and_responses_whole(config):
    batch = data(config).training(0, 3, slice(None))
    assert shapes(batch) == SHAPES
    for b in range(8):
        k, n = int(batch["margin"][b]), batch["prompt_lengths"][b]
        assert batch["chosen"][b, :n].tolist() == TEMPLATE.prompt((Turn("user", f"q{k // 2}"),)).tolist()
        for name, first in (("chosen", "c"), ("rejected", "r")):
            length = batch[f"{name}_lengths"][b]
            assert ByteVocab().decode(batch[name][b, n : length - 1].tolist()) == f"{first}{k}"
            assert batch[name][b, length - 1] == TEMPLATE.end_id and not batch[name][b, length:].any()


def test_pairs_that_do_not_fit_are_left_out_and_counted(config):
    splits = data(config).manifest["splits"].values()
    assert sum(split["n_pairs"] for split in splits) == 98
    found = data(dataclasses.replace(config, batch_tokens=16, n_val_tokens=16 * 100))
    n = round(found.tokens_an_epoch / 16)
    batches = [found.training(0, i, slice(None)) for i in range(n)] + list(found.validation)
    assert sorted(int(batch["margin"][0]) for batch in batches) == [k for k in range(100) if k not in (7, 40)]
    assert sum(split["n_left_out"] for split in splits) == 2
    with pytest.raises(ValueError, match=r"none of .* fits into rows of seq_len=4"):
        data(dataclasses.replace(config, seq_len=4, batch_tokens=32, n_tokens=320))


def test_every_pair_is_seen_once_an_epoch_in_an_order_of_the_seed(config):
    one_row = dataclasses.replace(config, batch_tokens=16)
    found = data(one_row)
    n = round(found.tokens_an_epoch / 16)
    seen, other = ([found.training(s, i, slice(None))["margin"][0] for i in range(n)] for s in (5, 6))
    assert len(set(seen)) == n == found.manifest["splits"]["train"]["n_pairs"]
    assert sorted(seen) == sorted(other) and seen != other
    margins = open_pairs(one_row)["train"].columns["margin"].scalars
    assert set(seen) <= set(margins.tolist())


def test_parts_of_a_batch_are_the_batch(config):
    read = data(config).training
    parts = [read(5, 2, rows) for rows in (slice(0, 3), slice(3, 8))]
    for name, array in read(5, 2, slice(None)).items():
        np.testing.assert_array_equal(array, np.concatenate([part[name] for part in parts]))


def test_validation_is_of_other_prompts_in_batches_of_equal_size(config):
    found = data(config)
    shown = np.concatenate([batch["margin"] for batch in found.validation])
    train = open_pairs(config)["train"].columns["margin"].scalars
    assert not {int(k) // 2 for k in shown} & {int(k) // 2 for k in train}
    assert len(shown) >= 2 and len({len(batch["margin"]) for batch in found.validation}) == 1
    few = data(dataclasses.replace(config, n_val_tokens=1)).validation  # a standard error needs two
    assert [len(batch["margin"]) for batch in few] == [2]


def test_the_gold_world_gives_its_pairs_and_by_how_much_the_chosen_one_is_better():
    world = GoldConfig(n_examples=40)
    config = config_of(ExamplesConfig("gold", gold=world), seq_len=gold.PROMPT_LENGTH + gold.MAX_NEW)
    found, pairs = data(config), gold.pairs(world, "train")
    batch = found.training(0, 1, slice(None))
    rows = {row.tobytes(): i for i, row in enumerate(pairs["chosen"])}
    index_B = [rows[row.tobytes()] for row in batch["chosen"]]
    for name, array in pairs.items():
        np.testing.assert_array_equal(batch[name], array[index_B])
    gold_reward = jax.jit(gold.gold_reward, static_argnums=0)
    rewards = [
        gold_reward(world, batch[name], batch["prompt_lengths"], batch[f"{name}_lengths"])
        for name in ("chosen", "rejected")
    ]
    np.testing.assert_allclose(batch["gold_margin"], rewards[0] - rewards[1], atol=1e-6)
    assert len(set(batch["gold_margin"].tolist())) > 2


def test_ties_of_annotators_are_marked_and_counted():
    world = GoldConfig(n_examples=40, indifference=0.5)
    config = config_of(ExamplesConfig("gold", gold=world), seq_len=gold.PROMPT_LENGTH + gold.MAX_NEW)
    found, tie = data(config), gold.pairs(world, "train")["tie"]
    assert found.manifest["splits"]["train"] == {"n_pairs": 40, "n_left_out": 0, "n_ties": tie.sum()}
    seen = np.concatenate([found.training(0, i, slice(None))["tie"] for i in range(5)])
    assert 0 < seen.sum() == tie.sum() < 40


@pytest.mark.parametrize("objective", [RewardConfig(), DPOConfig()])
def test_examples_of_another_kind_are_refused(objective):
    config = dataclasses.replace(
        config_of(ExamplesConfig("prompts", "somewhere.jsonl")), objective=objective, init=InitConfig("run")
    )
    with pytest.raises(ValueError, match=r"task='prompts'; pairs are"):
        data(config)
