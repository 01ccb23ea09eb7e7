"""The training loss: cross-entropy of the next token, in nats."""

from typing import Any

import jax
import optax

from models.model import Aux, Model


def token_losses(model: Model, params: Any, tokens_BT: jax.Array) -> tuple[jax.Array, Aux]:
    """Cross-entropy [B,U], nats, of the predicted tokens of rows of T + 1; the model's auxiliary scalars.

    A decoder predicts U = T tokens. A network with an encoder reads the first half of a row as its source and
    predicts the second from there, U = T - T // 2; the second half's first token starts its decoder.
    """
    inputs_BT, source = tokens_BT[:, :-1], {}
    n_predicted = predicted_tokens(model, inputs_BT.shape[1])
    if model.has_encoder:
        source = {"source_BS": inputs_BT[:, :-n_predicted]}
        inputs_BT = inputs_BT[:, -n_predicted:]
    targets_BU = tokens_BT[:, -n_predicted:]
    logits_BUV, aux = model.apply_with_aux(params, inputs_BT, **source)
    return optax.softmax_cross_entropy_with_integer_labels(logits_BUV, targets_BU), aux


def predicted_tokens(model: Model, seq_len: int) -> int:
    """How many tokens of a row of seq_len + 1 are predicted."""
    return seq_len - seq_len // 2 if model.has_encoder else seq_len


def training_loss(model: Model, params: Any, tokens_BT: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """What is minimised, and what is measured of tokens int32[B,T+1].

    "loss" is the mean over tokens in nats, without auxiliary losses; those are "aux_loss" and what else the
    model measures, for instance how evenly its experts are used.
    """
    losses_BU, aux = token_losses(model, params, tokens_BT)
    loss = losses_BU.mean()
    measured = {f"aux_{name}" if name == "loss" else name: value for name, value in aux.items()}
    return loss + aux["loss"] if aux else loss, {"loss": loss, **measured}
