"""What is measured of checkpoints: best-of-n against all subsets, curves as they were recorded."""

import dataclasses
import itertools
import json
import types

import numpy as np
import pytest

from experiments.studies.posttraining import measures
from scaling.laws.downstream.repeated_sampling import best_of_n, kl_of_best_of_n


def samples_of(gold, tokens, logps):
    """Samples of one response a number, as `sample_policy` gives them."""
    n, n_prompts = gold.shape
    return measures.PolicySamples(
        np.asarray(tokens)[..., None], np.full((n, n_prompts), 2), np.ones(n_prompts), gold, logps
    )


def test_best_of_n_is_the_mean_over_all_subsets():
    rng = np.random.default_rng(0)
    proxy, true = rng.standard_normal((2, 5, 3))
    rare = samples_of(true, np.arange(15).reshape(5, 3), np.full((5, 3), -20.0))
    table = measures.best_of_n_curve(proxy, rare)
    assert list(table["n"]) == [1, 2, 4]
    for row in table.to_dict("records"):
        n = row["n"]
        subsets = [list(s) for s in itertools.combinations(range(5), n)]
        by_hand = [true[s][proxy[s].argmax(axis=0), np.arange(3)] for s in subsets]
        assert row["gold"] == pytest.approx(np.mean(by_hand))
        assert row["proxy"] == pytest.approx(np.mean(best_of_n(proxy.T, n)))
        assert row["kl"] == pytest.approx(row["kl_bound"]) == pytest.approx(kl_of_best_of_n(n))
    np.testing.assert_allclose(table["reward"], table["gold"] - true.mean(), atol=1e-12)


def test_the_divergence_of_best_of_n_knows_of_equal_responses():
    """To one of two prompts there are but two responses, the better one half of the time: of two samples the
    best is the better one with probability 3/4."""
    proxy = np.array([[0.0, 0.1], [1.0, 0.2], [0.0, 0.3], [1.0, 0.4]])
    tokens = np.array([[0, 0], [1, 1], [0, 2], [1, 3]])
    logps = np.stack([np.full(4, np.log(0.5)), np.full(4, -20.0)], axis=1)
    table = measures.best_of_n_curve(proxy, samples_of(proxy, tokens, logps)).set_index("n")
    of_two = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert table.loc[2, "kl"] == pytest.approx((of_two + kl_of_best_of_n(2)) / 2)


def test_a_reward_model_errs_as_often_as_it_contradicts_the_true_reward(monkeypatch):
    """One that knows the true reward never errs, its opposite always."""
    world = measures.GoldConfig(seed=3, noise=0.5, flattery=1.0)
    config = types.SimpleNamespace(model=None)
    monkeypatch.setattr(measures, "load_whole", lambda run: (config, None, run))
    monkeypatch.setattr(measures.models, "build", lambda model: None)
    starts = measures.gold.pairs(dataclasses.replace(world, seed=1003, n_examples=64), "train")[
        "prompt_lengths"
    ]

    def score(sign, tokens, lengths):
        return sign * measures.gold.gold_reward(world, tokens, starts, lengths)

    monkeypatch.setattr(measures, "_scorer", lambda model: score)
    assert measures.ranking_error(1.0, world, 64) == 0
    assert measures.ranking_error(-1.0, world, 64) == 1


def test_a_curve_is_what_was_recorded_while_training(tmp_path):
    lines = [
        {"step": 1, "flops": 10, "train_loss": 0.1, "kl": -0.01, "reward": 0.2, "gold": 1.0, "length": 5.0},
        {"step": 2, "flops": 20, "val_loss": 0.1, "val_kl": 1.0},
        {"step": 2, "flops": 20, "train_loss": 0.1, "kl": 0.5, "reward": 0.4, "gold": 1.5, "length": 6.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = measures.reward_curve(tmp_path)
    assert table.to_dict("list") == {
        "step": [1, 2],
        "flops": [10, 20],
        "kl": [0.0, 0.5],
        "proxy": [0.2, 0.4],
        "gold": [1.0, 1.5],
    }
