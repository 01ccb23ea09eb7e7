"""The functions of training, compiled: for one device, for a mesh, or for packed runs as one program."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.objective import Objective
from models import sharding

State = tuple[Any, Any]  # parameters and optimizer state


@dataclass(frozen=True)
class Compiled:
    """What runs of one shape share. Parameters are those that are trained; `fixed` holds trees of others:
    "frozen", the rest of the network, and what the objective reads besides.

    For K packed runs parameters, optimizer state, training batches, hyperparameters and what is measured have
    a leading axis of K; the step, validation batches and `fixed` are the same for all.
    """

    objective: Objective
    init: Callable  # (key, network=None) -> (params, opt_state) of one run, from a checkpoint's network
    step: Callable  # (params, opt_state, step, batch, hyper, fixed={}) -> (the first three, measured)
    measure: Callable  # (params, batch, hyper, fixed={}) -> measurements of each row [B] by name
    stack: Callable[[Iterable[State]], State]  # the states of single runs as one
    unstack: Callable[[State, int], State]  # the state of run number i


def compile_functions(
    objective: Objective,
    axes: Any,
    init: Callable,
    step: Callable,
    measure: Callable,
    mesh: Mesh | None,
    n_runs: int,
) -> Compiled:
    """Jitted functions of one run, or of `n_runs` packed ones: the same program under `jax.vmap`.

    Args:
      objective: what is minimised.
      axes: of the parameters that are trained, by which they are laid out on the mesh.
      init, step, measure: see `Compiled`; the first three arguments of step are donated.
      mesh: devices to spread a run over; None: one device.
      n_runs: more than 1 on one device only.
    """
    # Random draws unroll into long programs that run once; optimizing them costs more than it saves.
    unoptimized = {"xla_backend_optimization_level": 0}
    params_at, opt_state_at, replicated = sharding.training_shardings(axes, init, mesh)
    step, measure = sharding.on_mesh(step, mesh), sharding.on_mesh(measure, mesh)
    if n_runs > 1:
        step = jax.vmap(step, in_axes=(0, 0, None, 0, 0, None), out_axes=(0, 0, None, 0))
        measure = jax.vmap(measure, in_axes=(0, None, 0, None))
    state_at = params_at, opt_state_at
    return Compiled(
        objective,
        jax.jit(init, out_shardings=state_at, compiler_options=unoptimized),
        jax.jit(step, out_shardings=(*state_at, replicated, replicated), donate_argnums=(0, 1, 2)),
        jax.jit(measure, out_shardings=replicated),
        *(_stacking(n_runs) if n_runs > 1 else (_only, lambda state, i: state)),
    )


def _only(states: Iterable[State]) -> State:
    (state,) = states
    return state


def _stacking(n_runs: int) -> tuple[Callable, Callable]:
    """`stack` and `unstack`; beside the stacked state there is never more than one run's in memory."""

    @jax.jit
    def empty(state):
        return jax.tree.map(lambda x: jnp.zeros((n_runs, *x.shape), x.dtype), state)

    @functools.partial(jax.jit, donate_argnums=0)
    def insert(stacked, state, i):
        return jax.tree.map(lambda xs, x: xs.at[i].set(x), stacked, state)

    @jax.jit
    def extract(stacked, i):
        return jax.tree.map(lambda xs: xs[i], stacked)

    def stack(states: Iterable[State]) -> State:
        stacked: Any = None
        for i, state in enumerate(states):
            index = sharding.put(np.int32(i), None)
            stacked = insert(empty(state) if stacked is None else stacked, state, index)
        return stacked

    return stack, lambda stacked, i: extract(stacked, sharding.put(np.int32(i), None))
