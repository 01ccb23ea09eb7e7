"""Supervised fine-tuning: the next token of responses to prompts, in packed rows of whole conversations.

A network with an encoder has a conversation a row: it reads what comes before the last response, and its
decoder, which begins with the last token of that, says the response. So `models.decoding` asks it later.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import models
from experiments.config import Recipe, RunConfig
from experiments.data.batches import shuffled
from experiments.objective import Objective, RunData
from experiments.objective_configs import SFTConfig
from experiments.posttraining.data.demonstrations import open_demonstrations
from experiments.posttraining.data.packing import PackedRows, last_responses, pack
from experiments.posttraining.data.prepared import manifest
from models.model import Aux, Model
from models.one_row import in_one_row

DIVERGED = 10.0  # times the loss of a uniform guess; a start that never met the template begins at several


def objective(model: Model, recipe: Recipe) -> Objective:
    """Cross-entropy of response tokens, nats, a mean by weight over the batch; `batch` is of `PackedRows`."""

    def loss(params, batch, hyper):
        losses_BT, right_BT, aux = response_losses(model, params, batch)
        weights_BT = batch["weights"][:, 1:]
        weight = weights_BT.sum()
        total = jnp.maximum(weight, jnp.finfo(jnp.float32).tiny)  # a part of a batch may hold padding alone
        loss = (weights_BT * losses_BT).sum() / total
        measured = {f"aux_{name}" if name == "loss" else name: value for name, value in aux.items()}
        measured |= {"loss": loss, "accuracy": (weights_BT * right_BT).sum() / total}
        return loss + aux["loss"] if aux else loss, (weight, measured)

    def measure(params, batch, hyper, fixed):
        losses_BT, right_BT, _ = response_losses(model, params, batch)
        weights_BT = batch["weights"][:, 1:]
        weight_B = weights_BT.sum(axis=1)
        total_B = jnp.where(weight_B > 0, weight_B, 1)
        means = {"loss": losses_BT, "accuracy": right_BT}
        return {"weight": weight_B} | {n: (weights_BT * x).sum(axis=1) / total_B for n, x in means.items()}

    limits = {"loss": DIVERGED * math.log(model.config.vocab_size)}
    return Objective(model.init, model.axes, loss, measure, limits=limits)


def response_losses(
    model: Model, params: Any, batch: dict[str, jax.Array]
) -> tuple[jax.Array, jax.Array, Aux]:
    """Of each token but a row's first: its cross-entropy [B,T], nats, and whether it was the likeliest; what
    else the network measured. Each segment is read as if it were alone."""
    tokens_BT, apart = batch["tokens"], {"segments_BT": batch["segments"][:, :-1]}
    if model.has_encoder:  # its rows have one response, which is all that counts
        before_B = (batch["weights"] > 0).argmax(axis=1)
        apart = {"prompt_lengths_B": jnp.maximum(before_B, 1)}
    logits_BTV, aux = in_one_row(model).apply_with_aux(params, tokens_BT[:, :-1], **apart)
    return *_losses(logits_BTV, tokens_BT[:, 1:]), aux


def _losses(logits_BTV: jax.Array, targets_BT: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of each target, nats, and whether it was the likeliest."""
    losses_BT = optax.softmax_cross_entropy_with_integer_labels(logits_BTV, targets_BT)
    # As by argmax but for ties; XLA vectorises no argmax on CPUs, and it would be a tenth of the step.
    said_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=2)[..., 0]
    return losses_BT, (said_BT >= logits_BTV.max(axis=-1)).astype(jnp.float32)


def data(config: RunConfig) -> RunData:
    """Packed rows of conversations, or of the gold world's demonstrations, prepared if they are not there.

    Raises:
      ValueError: they cannot be prepared, or rows are too short for all of them.
    """
    assert isinstance(config.objective, SFTConfig)
    found = open_demonstrations(config)
    weight_by, alone = config.objective.weight_by, models.build(config.model).has_encoder
    splits = {
        split: pack(last_responses(examples) if alone else examples, config.seq_len, weight_by, alone)
        for split, examples in found.items()
    }
    training, size = splits["train"], config.batch_size

    def read(seed: int, step: int, rows: slice) -> dict[str, np.ndarray]:
        return training.batch(shuffled(len(training), seed, step, size)[rows])

    return RunData(
        training=read,
        validation=validation_batches(splits["validation"], size, config.n_val_tokens),
        tokens_per_byte=0,
        n_train_tokens=training.n_tokens,
        tokens_an_epoch=len(training) * config.seq_len,
        manifest=manifest(
            config, found["train"].fingerprint, {split: counts(rows) for split, rows in splits.items()}
        ),
    )


def validation_batches(rows: PackedRows, batch_size: int, n_val_tokens: int) -> list[dict[str, np.ndarray]]:
    """The leading rows in whole batches; the last is filled up with rows of padding, which weigh nothing."""
    n_rows = max(1, min(len(rows), n_val_tokens // rows.seq_len))
    n_batches = max(-(-n_rows // batch_size), 2 if batch_size == 1 else 1)  # a standard error needs two rows
    numbers = np.full(n_batches * batch_size, -1)
    numbers[:n_rows] = np.arange(n_rows)
    return [rows.batch(some) for some in np.split(numbers, n_batches)]


def counts(rows: PackedRows) -> dict[str, int]:
    """What became of the examples of a split."""
    return {
        "n_examples": len(rows.examples),
        "n_rows": len(rows),
        "n_tokens": rows.n_tokens,
        "n_response_tokens": rows.n_weighted,
        "n_truncated": rows.n_truncated,
        "n_left_out": rows.n_left_out,
    }
