"""The training loss by hand: which tokens are predicted, from what, and what is added to it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.loss import predicted_tokens, token_losses, training_loss
from models import TransformerConfig
from models.model import Model

CONFIG = TransformerConfig(7, 8, 1, 1, 1, 8, 8)
TABLE_VV = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
NATS_VV = np.log(np.exp(TABLE_VV).sum(axis=1, keepdims=True)) - TABLE_VV  # of a token after another


def table_model(has_encoder: bool = False, **aux: float) -> Model:
    """The next token depends on the last one, moved on by the sum of the source if there is one."""

    def hidden(table_VV, tokens_BT, source_BS=None):
        moved = 0 if source_BS is None else source_BS.sum(axis=1, keepdims=True)
        return (tokens_BT + moved) % 7, {name: jnp.float32(value) for name, value in aux.items()}

    def logits(table_VV, x_BT):
        return jnp.asarray(table_VV)[x_BT]

    return Model(CONFIG, None, hidden, logits, None, None, has_encoder=has_encoder)  # type: ignore[arg-type]


def test_a_decoder_predicts_every_token_but_the_first():
    losses_BU, aux = token_losses(table_model(), TABLE_VV, jnp.array([[3, 1, 4, 1], [5, 0, 2, 6]]))
    expected = [[NATS_VV[3, 1], NATS_VV[1, 4], NATS_VV[4, 1]], [NATS_VV[5, 0], NATS_VV[0, 2], NATS_VV[2, 6]]]
    np.testing.assert_allclose(losses_BU, expected, rtol=1e-6)
    assert aux == {}


def test_an_encoder_reads_the_first_half_and_the_second_is_predicted():
    """Of the 6 tokens of a row the source is the first two, 1 + 3; the third starts the decoder."""
    losses_BU, _ = token_losses(table_model(has_encoder=True), TABLE_VV, jnp.array([[1, 3, 5, 2, 0, 6]]))
    expected = [NATS_VV[(5 + 4) % 7, 2], NATS_VV[(2 + 4) % 7, 0], NATS_VV[(0 + 4) % 7, 6]]
    np.testing.assert_allclose(losses_BU, [expected], rtol=1e-6)


@pytest.mark.parametrize(("has_encoder", "n_predicted"), [(False, [1, 2, 7, 8]), (True, [1, 1, 4, 4])])
def test_as_many_tokens_are_predicted_as_is_said(has_encoder, n_predicted):
    model = table_model(has_encoder)
    for seq_len, n in zip((1, 2, 7, 8), n_predicted, strict=True):
        tokens = jax.ShapeDtypeStruct((2, seq_len + 1), jnp.int32)
        losses, _ = jax.eval_shape(functools.partial(token_losses, model, TABLE_VV), tokens)
        assert losses.shape == (2, n) and predicted_tokens(model, seq_len) == n


def test_what_is_minimised_has_the_auxiliary_losses_and_what_is_reported_has_them_apart():
    tokens_BT = jnp.array([[3, 1, 4]])
    mean = (NATS_VV[3, 1] + NATS_VV[1, 4]) / 2
    loss, measured = training_loss(table_model(loss=0.5, drop_rate=0.25), TABLE_VV, tokens_BT)
    assert loss == pytest.approx(mean + 0.5, rel=1e-6)
    assert measured == pytest.approx({"loss": mean, "aux_loss": 0.5, "drop_rate": 0.25}, rel=1e-6)
    loss, measured = training_loss(table_model(), TABLE_VV, tokens_BT)
    assert measured == {"loss": loss} and loss == pytest.approx(mean, rel=1e-6)
