"""The reward of exact answers: by hand, and that answering pays above the threshold."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.objective_configs import GRPOConfig
from experiments.posttraining.rl.exact_answers import outcomes, score
from models.decoding.rollout import Rollout

EOS = 1
RIGHT, ABSTAIN = [7, 8, EOS], [9, EOS]


def rolled(*responses: list[int]) -> Rollout:
    """Rollouts of prompts of one token, then of two, and so on, with responses of up to four tokens."""
    starts = np.arange(1, len(responses) + 1)
    tokens = np.zeros((len(responses), len(responses) + 4), np.int32)
    for row, start, said in zip(tokens, starts, responses):
        row[:start], row[start : start + len(said)] = 5, said
    ends = starts + [len(said) for said in responses]
    ended = np.array([EOS in said for said in responses])
    nothing = jnp.zeros((len(tokens), tokens.shape[1] - 1))
    return Rollout(*map(jnp.asarray, (tokens, starts, ends)), nothing, jnp.asarray(ended))


def answers(n_rows: int):
    rows = [[*said, *[0] * (4 - len(said))] for said in (RIGHT, ABSTAIN)]
    return jnp.broadcast_to(jnp.array(rows, jnp.int32), (n_rows, 2, 4))


def test_only_the_same_tokens_with_their_end_are_right():
    said = [RIGHT, ABSTAIN, [7, 8, 8, 1], [7, 8], [7, 8, 8, 8], [1]]
    found = outcomes(rolled(*said), answers(len(said)))
    assert found["right"].tolist() == [1, 0, 0, 0, 0, 0]
    assert found["abstained"].tolist() == [0, 1, 0, 0, 0, 0]
    np.testing.assert_allclose(score(found, 0.75), [1, 0, -3, -3, -3, -3])
    np.testing.assert_allclose(score(found, 0.0), [1, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_answering_pays_above_the_threshold(threshold):
    right, wrong = score({"right": jnp.array([1.0, 0]), "abstained": jnp.zeros(2)}, threshold)
    for p in (0.05, 0.3, 0.7, 0.95):
        gained = float(p * right + (1 - p) * wrong)
        assert gained == pytest.approx((p - threshold) / (1 - threshold), abs=1e-6)
        assert (gained > 0) == (p > threshold)


def test_an_endless_penalty_is_refused():
    with pytest.raises(ValueError, match=r"threshold=1.0; it is a probability"):
        GRPOConfig(reward="exact", threshold=1.0)
