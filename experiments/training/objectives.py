"""What runs can be trained for: the objective and the data of each kind. A new one is a line in each dict."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import Recipe, RunConfig
from experiments.data import batches
from experiments.data.batches.mixtures.mixed_corpus import mixed_corpus
from experiments.data.prepare import open_splits
from experiments.objective import Objective, RunData
from experiments.posttraining import classifier, dpo, reward, sft
from experiments.posttraining.data import classes, pair_batches, prompts
from experiments.posttraining.rl import grpo, ppo, rejection
from experiments.training.loss import token_losses, training_loss
from models.model import Model

DIVERGED = 2.0  # times the loss of a uniform guess: from there no run comes back


def pretraining(model: Model, recipe: Recipe) -> Objective:
    """Cross-entropy of the next token, nats; `batch` is tokens int32[B,T+1]."""

    def loss(params, tokens_BT, hyper):
        loss, measured = training_loss(model, params, tokens_BT)
        return loss, (tokens_BT.size, measured)

    def measure(params, tokens_BT, hyper, fixed):
        return {"loss": token_losses(model, params, tokens_BT)[0].mean(axis=-1)}

    limits = {"loss": DIVERGED * math.log(model.config.vocab_size)}
    return Objective(model.init, model.axes, loss, measure, limits=limits)


def corpus(config: RunConfig) -> RunData:
    """The training and validation split of `config.data`, prepared if they are not there yet.

    Raises:
      ValueError: they cannot be prepared, are too short, or the mixture does not fit their components.
    """
    training, validation = open_splits(config.data)
    if config.data.has_components:
        return mixed_corpus(config, training, validation)
    size, seq_len, tokens = config.batch_size, config.seq_len, training.tokens

    def read(seed: int, step: int, rows: slice) -> np.ndarray:
        return batches.batch(tokens, seed, step, size, seq_len, rows)

    return RunData(
        training=read,
        validation=batches.validation_batches(validation.tokens, size, seq_len, config.n_val_tokens),
        tokens_per_byte=len(validation.tokens) / validation.n_bytes,
        n_train_tokens=len(tokens),
        tokens_an_epoch=batches.count_windows(len(tokens), seq_len) * seq_len,
        manifest=training.manifest,
    )


# By `kind` of the objective's configuration; None is pretraining.
OBJECTIVES: dict[str | None, Callable[[Model, Recipe], Objective]] = {
    None: pretraining,
    "sft": sft.objective,
    "reward": reward.objective,
    "classifier": classifier.objective,
    "dpo": dpo.objective,
    "ppo": ppo.objective,
    "grpo": grpo.objective,
    "rejection": rejection.objective,
}
DATA: dict[str | None, Callable[[RunConfig], RunData]] = {
    None: corpus,
    "sft": sft.data,
    "reward": pair_batches.data,
    "classifier": classes.data,
    "dpo": pair_batches.data,
    "ppo": prompts.data,
    "grpo": prompts.data,
    "rejection": prompts.data,
}


def objective_of(model: Model, recipe: Recipe) -> Objective:
    """What a run of this recipe minimises."""
    return OBJECTIVES[recipe.objective.kind if recipe.objective else None](model, recipe)


def data_of(config: RunConfig) -> RunData:
    """What a run trains on and is validated on; raises ValueError if that cannot be read."""
    return DATA[config.objective.kind if config.objective else None](config)


def batch_like(run: RunConfig) -> Any:
    """The shapes and dtypes of a training batch, a tree of `jax.ShapeDtypeStruct`, without its data."""
    rows, n = run.batch_size, run.seq_len
    kind = run.objective.kind if run.objective else None

    def array(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows, *shape), dtype)

    lengths = array(jnp.int32)
    if kind is None:
        return array(jnp.int32, n + 1)
    if kind == "sft":
        rows_of_tokens = array(jnp.int32, n + 1)
        return {"tokens": rows_of_tokens, "segments": rows_of_tokens, "weights": array(jnp.float32, n + 1)}
    if kind == "classifier":
        return {"tokens": array(jnp.int32, n), "lengths": lengths, "labels": lengths}
    max_new = getattr(run.objective, "max_new", 0)
    if max_new:
        exact = getattr(run.objective, "reward", "") == "exact"
        known = {"answers": array(jnp.int32, 2, max_new)} if exact else {}
        prompts = array(jnp.int32, n - max_new)
        return {"tokens": prompts, "lengths": lengths, "seeds": array(jnp.uint32)} | known
    sides = {name: array(jnp.int32, n) for name in ("chosen", "rejected")}
    of_sides = {f"{name}_lengths": lengths for name in (*sides, "prompt")}
    numbers = ["margin"]
    if run.examples and run.examples.task == "gold":
        with_ties = run.examples.gold is not None and run.examples.gold.indifference > 0
        numbers += ["gold_margin", "tie"] if with_ties else ["gold_margin"]
    return sides | of_sides | {name: array(jnp.float32) for name in numbers}
