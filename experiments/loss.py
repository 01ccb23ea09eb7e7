"""The training loss: cross-entropy of the next token, in nats."""

from typing import Any

import jax
import optax

from models.model import Aux, Model


def token_losses(model: Model, params: Any, tokens_BT: jax.Array) -> tuple[jax.Array, Aux]:
    """Nats of each predicted token [B,U] of rows of T + 1 tokens, and the model's auxiliary scalars.

    A decoder predicts U = T tokens. A network with an encoder reads the first half of a row as its source and
    predicts the second from there, U = T - T // 2; the second half's first token starts its decoder.
    """
    inputs_BT, source = tokens_BT[:, :-1], {}
    if model.has_encoder:
        half = inputs_BT.shape[1] // 2
        inputs_BT, source = inputs_BT[:, half:], {"source_BS": inputs_BT[:, :half]}
    targets_BU = tokens_BT[:, -inputs_BT.shape[1] :]
    logits_BUV, aux = model.apply_with_aux(params, inputs_BT, **source)
    return optax.softmax_cross_entropy_with_integer_labels(logits_BUV, targets_BU), aux


def training_loss(model: Model, params: Any, tokens_BT: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """What is minimised, and what is measured: "loss" is the mean over tokens, without auxiliary losses."""
    losses_BU, aux = token_losses(model, params, tokens_BT)
    loss = losses_BU.mean()
    measured = {f"aux_{name}" if name == "loss" else name: value for name, value in aux.items()}
    return loss + aux["loss"] if aux else loss, {"loss": loss, **measured}
