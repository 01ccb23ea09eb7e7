"""Spans against decoding, by hand, and what a misprint changes."""

import jax
import numpy as np
import pytest

import models
from experiments.evaluate.tasks.span_metrics import Predictions, answer_metrics, misprinted, predict
from models import TransformerConfig
from models.decoding.sample import sample
from models.decoding.settings import SamplingSettings

CONFIG = TransformerConfig(vocab_size=5, d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, d_head=8, d_ff=24)


def test_exact_match_is_what_greedy_decoding_gives():
    """With five tokens and rows made greedily, then spoilt at random, both outcomes occur."""
    model, rng = models.build(CONFIG), np.random.default_rng(0)
    params = model.init(jax.random.key(0))
    prompts = rng.integers(0, 5, (24, 7)).tolist()

    def greedy(texts, n):
        settings = SamplingSettings(temperature=0.0)
        found = sample(model, params, texts, [0] * len(texts), settings, max_tokens=n, eos_id=5)
        return np.array([list(one.tokens) for [one] in found])

    rows = np.concatenate([prompts, greedy(prompts, 6)], axis=1).astype(np.int32)
    spoilt = rng.random(rows.shape) < 0.05
    rows[spoilt] = rng.integers(0, 5, spoilt.sum())
    seen = predict(model, params, np.split(rows, 2))
    assert seen.nats_RT.shape == (24, 12)
    # The second half of the 12 predicted tokens: tokens 7 to 9 and 10 to 12 of each row.
    right = [greedy(rows[:, :at].tolist(), 3) == rows[:, at : at + 3] for at in (7, 10)]
    expected = np.concatenate(right).all(axis=1).mean()
    assert 0 < expected < 1
    assert answer_metrics(seen, 3)["exact_match"] == expected


def test_metrics_by_hand():
    nats = np.log(np.array([[9.0, 9.0, 2.0, 4.0], [9.0, 9.0, 2.0, 2.0]]))
    right = np.array([[0, 0, 1, 0], [0, 0, 1, 1]], bool)
    brier = np.array([[9, 9, 0.5, 1.0], [9, 9, 0.5, 0.0]])
    seen = Predictions(nats, right, brier)
    two = answer_metrics(seen, 2)
    assert two == {
        "n_answer": 2, "n_questions": 2, "exact_match": 0.5, "token_accuracy": 0.75,
        "token_loss": pytest.approx(np.log(2) * 5 / 4), "brier": 0.5,
    }  # fmt: skip
    assert answer_metrics(seen, 1)["exact_match"] == 0.75
    with pytest.raises(ValueError, match="n_answer=3; half a row of 4 tokens holds 1 to 2"):
        answer_metrics(seen, 3)


def test_brier_of_known_probabilities():
    """A model whose logits are log p, whatever it reads."""
    p = np.array([0.7, 0.2, 0.1], np.float32)

    class Known:
        def apply(self, params, tokens_BT):
            return jax.numpy.broadcast_to(params, (*tokens_BT.shape, 3))

    seen = predict(Known(), np.log(p), [np.array([[0, 0, 1, 2]], np.int32)])  # type: ignore[arg-type]
    by_hand = [0.3**2 + 0.2**2 + 0.1**2, 0.7**2 + 0.8**2 + 0.1**2, 0.7**2 + 0.2**2 + 0.9**2]
    np.testing.assert_allclose(seen.brier_RT[0], by_hand, rtol=1e-5)
    np.testing.assert_allclose(seen.nats_RT[0], -np.log(p), rtol=1e-5)
    assert seen.right_RT.tolist() == [[True, False, False]]


def test_a_misprint_comes_from_another_row_and_changes_one_token():
    rows = np.arange(60, dtype=np.int32).reshape(6, 10)
    changed = misprinted(rows, 4, np.random.default_rng(0))
    assert (changed[:, 4] != rows[:, 4]).all() and sorted(changed[:, 4]) == sorted(rows[:, 4])
    np.testing.assert_array_equal(np.delete(changed, 4, axis=1), np.delete(rows, 4, axis=1))
