"""Batches of prompts: a pure function of (seed, step), groups of one prompt together, prompts that fit."""

import dataclasses
import json

import numpy as np
import pytest

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.objective_configs import ExamplesConfig, GoldConfig, GRPOConfig, InitConfig, PPOConfig
from experiments.posttraining import gold
from experiments.posttraining.data import prompts

WORLD = GoldConfig(n_examples=12)
BASE = RunConfig(
    *(models.ladder(16, 259), DataConfig(), OptimizerConfig(lr=0.01), ScheduleConfig()),
    batch_tokens=8 * 40,
    seq_len=40,
    n_tokens=8 * 40,
    n_val_tokens=20 * 40,
    init=InitConfig("base"),
    examples=ExamplesConfig("gold", gold=WORLD),
    objective=GRPOConfig(max_new=10, group_size=4),
)


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_groups_have_one_prompt_and_every_row_a_seed_of_its_own():
    batch = prompts.data(BASE).training(0, 3, slice(None))
    assert batch["tokens"].shape == (8, 30) and batch["seeds"].dtype == np.uint32
    assert (batch["tokens"][:4] == batch["tokens"][0]).all() and (
        batch["tokens"][4:] == batch["tokens"][4]
    ).all()
    assert (batch["tokens"][0] != batch["tokens"][4]).any()
    assert len(set(batch["seeds"].tolist())) == 8
    for row, length in zip(batch["tokens"], batch["lengths"]):
        assert row[:length].all() and not row[length:].any()


def test_a_batch_is_a_function_of_seed_and_step_and_its_parts_are_its_rows():
    data = prompts.data(BASE)
    batch = data.training(5, 7, slice(None))
    assert_equal(batch, prompts.data(BASE).training(5, 7, slice(None)))
    assert_equal({name: array[2:5] for name, array in batch.items()}, data.training(5, 7, slice(2, 5)))
    seeds = {tuple(data.training(seed, step, slice(None))["seeds"]) for seed in (5, 6) for step in (7, 8)}
    assert len(seeds) == 4


def test_an_epoch_has_every_prompt_once():
    data = prompts.data(dataclasses.replace(BASE, objective=PPOConfig(max_new=10), batch_tokens=4 * 40))
    seen = [row for step in range(3) for row in map(tuple, data.training(0, step, slice(None))["tokens"])]
    assert sorted(seen) == sorted(
        map(tuple, np.pad(gold.prompts(WORLD, "train")["tokens"], ((0, 0), (0, 8))))
    )
    assert data.tokens_an_epoch == 12 * 40


def test_validation_is_the_same_for_all_runs_and_never_in_training():
    one, other = (prompts.data(dataclasses.replace(BASE, seed=seed)).validation for seed in (0, 1))
    assert [len(batch["lengths"]) for batch in one] == [8, 8]  # of 20 rows, those that fill batches
    for batch, same in zip(one, other):
        assert_equal(batch, same)
    assert len({seed for batch in one for seed in batch["seeds"].tolist()}) == 16


def test_prompts_of_a_file_are_rendered_up_to_where_the_assistant_speaks(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"Say {i:03}!"}) + "\n" for i in range(200)))
    data = prompts.data(dataclasses.replace(BASE, examples=ExamplesConfig("prompts", str(file))))
    batch = data.training(0, 0, slice(0, 1))
    row, length = batch["tokens"][0], batch["lengths"][0]
    assert bytes(token - 3 for token in row[2:10]).startswith(b"Say ")
    assert row[0] == 1 and row[length - 2] == 1 and length == 12
    assert len(data.manifest["fingerprint"]) == 64
    splits = data.manifest["splits"]
    assert splits["train"]["n_prompts"] + splits["validation"]["n_prompts"] == 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"objective": GRPOConfig(max_new=10, group_size=3)}, "must be a multiple of the 3 responses"),
        ({"objective": PPOConfig(max_new=25)}, "leaves 15 beside responses"),
        ({"examples": ExamplesConfig("preferences", "x")}, "takes 'prompts' or 'gold'"),
        ({"data": DataConfig(vocab="spm", vocab_size=259)}, "that world speaks bytes"),
    ],
)
def test_what_cannot_be_sampled_from_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        prompts.data(dataclasses.replace(BASE, **change))
