"""Log-probabilities of tokens against PyTorch's and by hand; masks position by position."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from experiments.posttraining.estimators.token_logps import (
    masked_mean,
    response_logps,
    response_mask,
    texts,
    token_logps,
)
from models import TransformerConfig
from models.configs.layers import Experts
from models.one_row import in_one_row
from tests.experiments.posttraining.golden import assert_equal, golden

__all__ = ["golden"]


def test_logps_are_those_of_the_next_tokens(golden):
    logps_BT = token_logps(golden["seq_logits"], golden["seq_labels"])
    mask_BT = golden["seq_mask"][:, 1:].astype(bool)
    assert_equal(jnp.where(mask_BT, logps_BT, 0), np.where(mask_BT, golden["seq_token_logps"], 0))
    sums_B = response_logps(logps_BT, mask_BT)
    assert_equal(sums_B, golden["seq_logps_sum"])
    assert_equal(sums_B / mask_BT.sum(axis=1), golden["seq_logps_mean"])
    assert_equal(-masked_mean(logps_BT, mask_BT), golden["sft_loss_token_mean"])


def test_logps_agree_with_cross_entropy_without_a_shift_of_the_last_logits():
    rng = np.random.default_rng(0)
    logits_BTV, tokens_BT = rng.normal(size=(2, 5, 7)), rng.integers(0, 7, (2, 5))
    expected_BT = -optax.softmax_cross_entropy_with_integer_labels(logits_BTV[:, :-1], tokens_BT[:, 1:])
    np.testing.assert_allclose(token_logps(logits_BTV, tokens_BT), expected_BT, rtol=1e-5)


def test_the_mask_is_true_where_the_next_token_is_the_responses():
    """Of 6 tokens: prompt 2 and response 3; prompt 1 and a response to the end; no response."""
    mask_BT = response_mask(jnp.array([2, 1, 4]), jnp.array([5, 6, 4]), 6)
    assert mask_BT.astype(int).tolist() == [[0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]


def test_padding_does_not_count_even_if_it_is_infinite():
    x_BT, mask_BT = jnp.array([[1.0, jnp.inf], [2.0, 6.0]]), jnp.array([[1, 0], [1, 1]])
    assert masked_mean(x_BT, mask_BT) == 3.0
    assert response_logps(x_BT, mask_BT).tolist() == [1.0, 8.0]
    assert masked_mean(x_BT, jnp.zeros((2, 2))) == 0.0


@pytest.mark.parametrize(("dispatch", "segments"), [("dropless", None), ("capacity", [[1, 1, 0], [1, 1, 1]])])
def test_padding_takes_no_places_of_experts(dispatch, segments):
    experts = Experts(2, 1, 8, dispatch=dispatch)
    moe = models.build(TransformerConfig(7, 8, 1, 1, 1, 8, 8, experts=experts, family="moe"))
    found = texts(moe, jnp.array([1, 1]), jnp.array([2, 3]), 3)
    assert {name: array.tolist() for name, array in found.items()} == (
        {"segments_BT": segments} if segments else {}
    )
    dense = models.build(TransformerConfig(7, 8, 1, 1, 1, 8, 8))
    assert texts(dense, jnp.array([1, 1]), jnp.array([2, 3]), 3) == {}


def test_a_network_with_an_encoder_is_told_where_prompts_end():
    model = in_one_row(models.build(models.ladder(16, 31, "encdec")))
    found = texts(model, jnp.array([2, 1]), jnp.array([2, 3]), 3)
    assert {name: array.tolist() for name, array in found.items()} == {"prompt_lengths_B": [2, 1]}
