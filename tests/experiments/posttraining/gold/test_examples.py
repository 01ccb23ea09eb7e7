"""Examples of the gold world: pure in their number, of the quality asked for, labelled by Bradley & Terry."""

import dataclasses
import hashlib

import jax
import numpy as np
import pytest

from experiments.data.vocab import ByteVocab
from experiments.objective_configs import GoldConfig
from experiments.posttraining import gold

WORLD = GoldConfig(n_examples=512)
compiled = jax.jit(lambda *rows: gold.features(*rows) | {"reward": gold.gold_reward(WORLD, *rows)})


def measure(rows, side=""):
    """Features and reward of demonstrations, or of one side of pairs."""
    lengths = rows[f"{side}_lengths" if side else "lengths"]
    found = compiled(rows[side or "tokens"], rows["prompt_lengths"], lengths)
    return {name: np.asarray(value) for name, value in found.items()}


@pytest.mark.parametrize("make", [gold.prompts, gold.demonstrations, gold.pairs])
def test_the_first_examples_of_a_larger_world_are_those_of_a_smaller_one(make):
    few, many = (make(dataclasses.replace(WORLD, n_examples=n), "train") for n in (200, 512))
    for name, array in few.items():
        assert len(array) == 200
        np.testing.assert_array_equal(array, many[name][:200])


def test_splits_and_seeds_differ():
    texts = [
        gold.prompts(dataclasses.replace(WORLD, seed=seed), split)["tokens"][:20]
        for seed, split in ((0, "train"), (0, "validation"), (1, "train"))
    ]
    assert len({text.tobytes() for text in texts}) == 3
    with pytest.raises(ValueError, match="split='test'; there are train, validation"):
        gold.prompts(WORLD, "test")


def test_a_demonstration_is_its_prompt_a_response_and_eos():
    asked, shown = gold.prompts(WORLD, "train"), gold.demonstrations(WORLD, "train")
    np.testing.assert_array_equal(shown["prompt_lengths"], asked["lengths"])
    for prompt, row, start, end in zip(asked["tokens"], *shown.values()):
        np.testing.assert_array_equal(row[:start], prompt[:start])
        assert row[end - 1] == 1 and end > start and not row[end:].any()
        assert (row[:end] != 1).sum() == end - 1


def test_better_demonstrations_have_a_higher_reward_and_perfect_ones_no_mistakes():
    mean = []
    for quality in (0.0, 0.5, 1.0):
        shown = gold.demonstrations(dataclasses.replace(WORLD, quality=quality), "train")
        mean.append(measure(shown)["reward"].mean())
    assert mean[0] < mean[1] - 0.3 < mean[2] - 0.6
    perfect = gold.demonstrations(dataclasses.replace(WORLD, quality=1.0), "train")
    found = measure(perfect)
    assert (found["content"] == 1).all()
    assert not any(found[name].any() for name in ("repeats", "junk", "unfinished"))


def test_questions_are_answered_by_chance_at_quality_0():
    world = dataclasses.replace(WORLD, quality=0.0, questions=1.0)
    content = measure(gold.demonstrations(world, "train"))["content"]
    assert abs((content == 1).mean() - 0.5) < 4 * 0.5 / np.sqrt(len(content))


def test_labels_are_wrong_as_often_as_bradley_and_terry_say():
    world = dataclasses.replace(WORLD, noise=0.7)
    labelled = gold.pairs(world, "train")
    chosen, rejected = (measure(labelled, side)["reward"] for side in ("chosen", "rejected"))
    gap = np.abs(chosen - rejected)
    right, chance = (chosen > rejected)[gap > 0], 1 / (1 + np.exp(-gap[gap > 0] / 0.7))
    z = (right - chance).sum() / np.sqrt((chance * (1 - chance)).sum())
    assert abs(z) < 4
    assert not (labelled["chosen"] == labelled["rejected"]).all(axis=1).any()


def test_labels_without_noise_are_right():
    labelled = gold.pairs(dataclasses.replace(WORLD, noise=0.0), "train")
    chosen, rejected = (measure(labelled, side)["reward"] for side in ("chosen", "rejected"))
    assert (chosen >= rejected).all()


def test_annotators_who_are_flattered_choose_who_agrees_with_the_user():
    world = dataclasses.replace(WORLD, questions=1.0, flattery=50.0)
    labelled = gold.pairs(world, "train")
    chosen, rejected = (measure(labelled, side)["agreement"] for side in ("chosen", "rejected"))
    assert (chosen >= rejected).all() and (chosen > rejected).any()


@pytest.mark.parametrize(
    ("changes", "digest"),
    [
        ({}, "6dd2317057ef94a2"),
        ({"noise": 0.0}, "da1b29070fec05db"),
        ({"noise": 0.7, "flattery": 2.0, "questions": 1.0}, "c45edcd4d4029a9a"),
    ],
)
def test_pairs_of_a_world_are_the_same_forever(changes, digest):
    labelled = gold.pairs(dataclasses.replace(WORLD, **changes), "train")
    assert list(labelled)[-1] == "margin"
    assert hashlib.sha256(b"".join(array.tobytes() for array in labelled.values())).hexdigest()[:16] == digest


def test_annotators_without_skill_toss_a_coin_and_a_bias_for_length_prefers_the_longer():
    def share(right, **changes):
        labelled = gold.pairs(dataclasses.replace(WORLD, noise=0.0, **changes), "train")
        sides = [right(labelled, side) for side in ("chosen", "rejected")]
        return (sides[0] > sides[1])[sides[0] != sides[1]].mean()

    def reward(labelled, side):
        return measure(labelled, side)["reward"]

    assert share(reward) == 1 and abs(share(reward, skill=0.0) - 0.5) < 0.1
    assert share(lambda labelled, side: labelled[f"{side}_lengths"], length_bias=50.0) == 1


def test_a_taste_is_for_a_response_whenever_it_is_seen_and_all_there_is_where_it_is_large():
    world = dataclasses.replace(WORLD, noise=0.0, disagreement=1e4)
    both = gold.candidates(world, "train", 2)
    first, second = ({name: array[:, k] for name, array in both.items()} for k in (0, 1))
    draws = np.full(len(first["tokens"]), 0.5)
    one, other = gold.label(world, first, second, draws), gold.label(world, second, first, draws)
    np.testing.assert_array_equal(one["chosen"], other["chosen"])
    right = measure(one, "chosen")["reward"] > measure(one, "rejected")["reward"]
    assert 0.35 < right.mean() < 0.65


def test_who_is_indifferent_calls_small_differences_ties():
    labelled = gold.pairs(dataclasses.replace(WORLD, noise=0.0, indifference=0.75), "train")
    chosen, rejected = (measure(labelled, side)["reward"] for side in ("chosen", "rejected"))
    gap = chosen - rejected
    sure = np.abs(np.abs(gap) - 0.75) > 1e-3  # float32
    np.testing.assert_array_equal((labelled["tie"] == 1)[sure], (np.abs(gap) < 0.75)[sure])
    assert 0 < labelled["tie"].mean() < 1 and (gap[labelled["tie"] == 0] > 0).all()


def test_rollouts_of_other_widths_are_labelled_too():
    rows = gold.demonstrations(WORLD, "validation")
    wide = rows | {"tokens": np.pad(rows["tokens"], ((0, 0), (0, 3)))}
    labelled = gold.label(WORLD, rows, wide, np.zeros(len(rows["tokens"])))
    np.testing.assert_array_equal(labelled["chosen"], labelled["rejected"])


@pytest.mark.parametrize("kind", gold.PROBES)
def test_the_right_answer_of_a_probe_is_worth_more_than_the_wrong_one(kind):
    asked = gold.probes(WORLD, kind, 60)
    assert len(asked) == 60 and len({probe.prompt for probe in asked}) > 50
    encode, worth = ByteVocab().encode, {}
    for name in ("right", "wrong"):
        rows = [encode(probe.prompt) + encode(getattr(probe, name)) + [1] for probe in asked]
        rows += [[0]] * (512 - len(rows))
        tokens = np.array([row + [0] * (38 - len(row)) for row in rows], np.int32)
        starts = np.array([len(probe.prompt) for probe in asked] + [0] * (512 - len(asked)))
        ends = np.array([len(row) for row in rows])
        worth[name] = measure({"tokens": tokens, "prompt_lengths": starts, "lengths": ends})["reward"][:60]
    assert (worth["right"] > worth["wrong"] + 0.5).all()
    if kind == "agreement":
        assert all(f"I SAY {probe.wrong}:" in probe.prompt for probe in asked)


def test_a_world_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"quality=1\.5; it must be between 0 and 1"):
        GoldConfig(quality=1.5)
    with pytest.raises(ValueError, match=r"noise=-1\.0; it must not be negative"):
        GoldConfig(noise=-1.0)
