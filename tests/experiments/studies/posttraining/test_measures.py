"""What is measured of checkpoints: best-of-n against all subsets, curves as they were recorded."""

import itertools
import json

import numpy as np
import pytest

from experiments.studies.posttraining import measures
from scaling.laws.downstream.repeated_sampling import best_of_n, kl_of_best_of_n


def test_best_of_n_is_the_mean_over_all_subsets():
    rng = np.random.default_rng(0)
    proxy, true = rng.standard_normal((2, 5, 3))
    table = measures.best_of_n_curve(proxy, true)
    assert list(table["n"]) == [1, 2, 4]
    for row in table.to_dict("records"):
        n = row["n"]
        subsets = [list(s) for s in itertools.combinations(range(5), n)]
        by_hand = [true[s][proxy[s].argmax(axis=0), np.arange(3)] for s in subsets]
        assert row["gold"] == pytest.approx(np.mean(by_hand))
        assert row["proxy"] == pytest.approx(np.mean(best_of_n(proxy.T, n)))
        assert row["kl"] == pytest.approx(kl_of_best_of_n(n))
    np.testing.assert_allclose(table["reward"], table["gold"] - true.mean(), atol=1e-12)


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
