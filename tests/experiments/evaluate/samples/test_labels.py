"""Pairs from a policy's own samples: which responses count, who is preferred, and what is refused."""

import json

import numpy as np
import pytest

from experiments.evaluate.samples.labels import PromptSamples, label, pairs_of, read_samples
from experiments.posttraining.data.pairs import read_pairs


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def said(*texts, finish="eos"):
    return [{"text": text, "finish": finish} for text in texts]


def test_responses_that_were_cut_off_or_are_empty_or_repeated_are_left_out(tmp_path):
    samples = [*said("a", "", "a", "b"), *said("c", finish="length"), *said("d", finish="stop")]
    path = write(tmp_path / "s.jsonl", {"prompt": "p", "samples": samples}, {"prompt": "q", "samples": []})
    found, left_out = read_samples(path)
    assert found == [PromptSamples("p", ("a", "b", "d")), PromptSamples("q", ())]
    assert left_out == {"cut off": 1, "empty": 1, "repeated": 1}


def test_the_best_is_preferred_to_the_worst_or_each_to_all_below_it():
    sampled = [PromptSamples("p", ("a", "b", "c")), PromptSamples("q", ("d", "e")), PromptSamples("r", ())]
    rewards = [np.array([1.0, 3.0, 2.0]), np.array([1.0, 1.0]), np.array([])]
    [pair] = pairs_of(sampled, rewards, "extremes", 0.0, 0)
    sides = {"prompt": "p", "chosen": "b", "rejected": "a", "reward_chosen": 3.0, "reward_rejected": 1.0}
    assert pair == sides
    every = pairs_of(sampled, rewards, "all", 0.0, 0)
    assert [(pair["chosen"], pair["rejected"]) for pair in every] == [("b", "c"), ("b", "a"), ("c", "a")]


def test_an_annotator_errs_as_often_as_the_temperature_says():
    """σ(1/2) = 0.6225 of 4,000, whose standard error is 0.0077."""
    sampled, rewards = [PromptSamples("p", ("a", "b"))] * 4000, [np.array([0.0, 1.0])] * 4000
    pairs = pairs_of(sampled, rewards, "extremes", 2.0, seed=1)
    share = np.mean([pair["chosen"] == "b" for pair in pairs])
    assert abs(share - 0.6225) < 0.025
    assert all((pair["reward_chosen"] == 1) == (pair["chosen"] == "b") for pair in pairs)


def test_the_gold_world_labels_its_own_prompts_and_the_pairs_are_read_as_such(tmp_path):
    """By hand: right and polite is 1 + 1 + 0.75, right is 2, one letter of three out of order loses half."""
    samples = {"prompt": "SORT cab:", "samples": said("abc", "acb", "abc!", "NO")}
    lines, about = label(write(tmp_path / "s.jsonl", samples), "gold", "extremes", 0.0, 0)
    pair = json.loads(lines[0])
    assert (pair["chosen"], pair["rejected"]) == ("abc!", "NO") and len(lines) == about["n_pairs"] == 1
    assert pair["reward_chosen"] == about["best"] == pytest.approx(2.375)
    [(_, read)] = read_pairs(write(tmp_path / "pairs.jsonl", pair))
    assert (read.chosen, read.rejected, read.margin) == ("abc!", "NO", 0.0)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"prompt": "p"}, "no 'prompt' with 'samples'"),
        ({"prompt": "p", "samples": [{"finish": "eos"}]}, "a sample has no 'text'"),
        ({"prompt": "p", "samples": said("a", finish="length")}, r"no response is left \(1 cut off\)"),
        (
            {"prompt": "SORT ab:", "samples": said("ab", "ab")},
            r"two responses of different rewards \(1 repeated",
        ),
    ],
)
def test_what_makes_no_pair_is_refused_by_name(record, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        label(write(tmp_path / "s.jsonl", record), "gold", "extremes", 0.0, 0)
