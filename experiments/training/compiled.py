"""The compiled functions of training: one set for all runs of a shape, or for packs of K of them."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

import models
from experiments.training import optim
from experiments.training.loss import token_losses, training_loss
from models import sharding
from models.config import ModelConfig

State = tuple[Any, Any]  # parameters and optimizer state


@dataclass(frozen=True)
class Programs:
    """What runs of one shape share. In a pack of K runs parameters, optimizer state, training tokens, numbers
    and losses have a leading axis of K; the step and validation tokens are the same for all."""

    init: Callable  # (key) -> (params, opt_state) of one run
    step: Callable  # (params, opt_state, step, tokens [B,T+1], hyper) -> (the first three, numbers)
    row_losses: Callable  # (params, tokens [B,T+1]) -> nats per token of each row [B]
    join: Callable[[Iterable[State]], State]  # the states of single runs as that of the pack
    split: Callable[[State, int], State]  # the state of run number i


@functools.cache
def programs(
    model_config: ModelConfig, optimizer: str, schedule: str, mesh: Mesh | None = None, n_runs: int = 1
) -> Programs:
    """Jitted functions for a network; hyperparameters are arguments, so a grid compiles once a shape.

    A pack of `n_runs` is the same program under `jax.vmap`, on one device.
    """
    model = models.build(model_config)

    def row_losses(params, tokens_BT):
        return token_losses(model, params, tokens_BT)[0].mean(axis=-1)

    def step(params, opt_state, step, tokens_BT, hyper):
        objective = functools.partial(training_loss, model)
        (_, numbers), grads = jax.value_and_grad(objective, has_aux=True)(params, tokens_BT)
        lr = optim.learning_rate(schedule, step, hyper)
        updates, opt_state = optim.optimizer(optimizer, model, hyper, lr).update(grads, opt_state, params)
        numbers |= {"grad_norm": optax.tree.norm(grads), "lr": lr}
        return optax.apply_updates(params, updates), opt_state, step + 1, numbers

    def init(key):
        params = model.init(key)
        return params, optim.init_state(optimizer, model, params)

    # Random draws unroll into long programs that run once; optimizing them costs more than it saves.
    cheap = {"xla_backend_optimization_level": 0}
    at, state_at, whole = sharding.training_shardings(model.axes, init, mesh)
    step, row_losses = sharding.on_mesh(step, mesh), sharding.on_mesh(row_losses, mesh)
    if n_runs > 1:
        step = jax.vmap(step, in_axes=(0, 0, None, 0, 0), out_axes=(0, 0, None, 0))
        row_losses = jax.vmap(row_losses, in_axes=(0, None))
    return Programs(
        jax.jit(init, out_shardings=(at, state_at), compiler_options=cheap),
        jax.jit(step, out_shardings=(at, state_at, whole, whole), donate_argnums=(0, 1, 2)),
        jax.jit(row_losses, out_shardings=whole),
        *(_stacking(n_runs) if n_runs > 1 else (_only, lambda state, i: state)),
    )


def _only(states: Iterable[State]) -> State:
    (state,) = states
    return state


def _stacking(n_runs: int) -> tuple[Callable, Callable]:
    """`join` and `split` of a pack; beside the pack there is never more than one run's state in memory."""

    @jax.jit
    def empty(state):
        return jax.tree.map(lambda x: jnp.zeros((n_runs, *x.shape), x.dtype), state)

    @functools.partial(jax.jit, donate_argnums=0)
    def insert(pack, state, i):
        return jax.tree.map(lambda xs, x: xs.at[i].set(x), pack, state)

    @jax.jit
    def extract(pack, i):
        return jax.tree.map(lambda xs: xs[i], pack)

    def join(states: Iterable[State]) -> State:
        pack: Any = None
        for i, state in enumerate(states):
            pack = insert(empty(state) if pack is None else pack, state, sharding.put(np.int32(i), None))
        return pack

    return join, lambda pack, i: extract(pack, sharding.put(np.int32(i), None))
