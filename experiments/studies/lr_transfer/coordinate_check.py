"""Coordinate check: how much a few training steps change activations (Yang et al. 2022, appendix D.1).

In a parametrisation under which hyperparameters transfer, the change is the same at every width and depth.
"""

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.training import optim
from experiments.training.train import training_functions
from models import ModelConfig, build
from models.model import Model

PLACES = ("embedding", "half the layers", "all layers", "logits")


def changes(
    config: ModelConfig, optimizer: OptimizerConfig, batches: Sequence[np.ndarray], seed: int = 0
) -> dict[str, float]:
    """Mean absolute change that one step a batch, int32[B,T+1], brings to activations on the first of them.

    The learning rate is that of `optimizer` throughout. For the places see `activations`.

    Args:
      config: of the network.
      optimizer: with the learning rate.
      batches: tokens, the first one also those looked at.
      seed: of the initial parameters.
    """
    n_rows, n_tokens = batches[0].shape
    run = RunConfig(
        model=config,
        data=DataConfig(vocab_size=config.vocab_size),
        optimizer=optimizer,
        schedule=ScheduleConfig(warmup=0.0, decay=0.0),
        batch_tokens=n_rows * (n_tokens - 1),
        seq_len=n_tokens - 1,
        n_tokens=len(batches) * n_rows * (n_tokens - 1),
    )
    compiled = training_functions(config, optimizer.name, run.schedule.name)
    hyper = optim.hyperparameters(run)
    params, opt_state = compiled.init(jax.random.key(seed))
    observe = jax.jit(lambda params: activations(build(config), params, jnp.asarray(batches[0][:, :-1])))
    before, step = observe(params), jnp.int32(0)
    for batch in batches:
        params, opt_state, step, _ = compiled.step(params, opt_state, step, jnp.asarray(batch), hyper)
    after = observe(params)
    return {place: float(jnp.abs(after[place] - before[place]).mean()) for place in PLACES}


def activations(model: Model, params: Any, tokens_BT: jax.Array) -> dict[str, jax.Array]:
    """At each of PLACES: the stream [B,T,D], normalised as for the head, after it; the logits [B,T,V].

    It is for families whose parameters are "ends" and stacked "blocks": the first l blocks are a network too.
    """
    n, streams = model.config.n_layers, []
    for n_layers in (0, n // 2, n):
        first = jax.tree.map(operator.itemgetter(slice(n_layers)), params["blocks"])
        streams.append(model.hidden(params | {"blocks": first}, tokens_BT)[0])
    return dict(zip(PLACES, [*streams, model.logits(params, streams[-1])]))
