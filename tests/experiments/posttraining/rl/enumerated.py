"""A task whose 40 responses are listed, and the training of a policy on it: what algorithms should come to is
known exactly."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import models
from experiments.config import Recipe
from experiments.objective import Objective
from experiments.objective_configs import traced
from experiments.posttraining import enumerable
from experiments.training.gradients import over_minibatches
from models.decoding.rollout import Rollout
from models.model import Model

EOS, MAX_NEW, PROMPT = 1, 3, np.array([2, 3])
ALL = enumerable.list_responses(4, MAX_NEW, EOS)
REWARDS_R = np.random.default_rng(0).normal(size=len(ALL.lengths_R)).astype(np.float32)
CONFIG = models.TransformerConfig(
    vocab_size=4, d_model=16, n_layers=1, n_heads=2, n_kv_heads=2, d_head=8, d_ff=32
)


def _number(tokens: Any, lengths: Any) -> Any:
    """One number a response: its tokens as digits, and its length."""
    inside = np.arange(MAX_NEW) < lengths[:, None]
    return (jnp.where(inside, tokens, 0) * 4 ** np.arange(MAX_NEW)).sum(axis=1) + 64 * lengths


def score(fixed: dict[str, Any], rolled: Rollout) -> jax.Array:
    """The reward of each response, float32[B]."""
    starts_B, lengths_B = rolled.prompt_lengths_B, rolled.lengths_B
    tokens_BT = jnp.take_along_axis(rolled.tokens_BT, starts_B[:, None] + np.arange(MAX_NEW), axis=1)
    table = jnp.zeros(64 * (MAX_NEW + 1)).at[_number(ALL.tokens_RT, ALL.lengths_R)].set(REWARDS_R)
    return table[_number(tokens_BT, lengths_B - starts_B)]


def batch(n_rows: int, seeds: Any) -> dict[str, Any]:
    """The prompt in every row."""
    tokens = jnp.broadcast_to(jnp.array(PROMPT, jnp.int32), (n_rows, len(PROMPT)))
    return {
        "tokens": tokens,
        "lengths": jnp.full(n_rows, len(PROMPT)),
        "seeds": jnp.asarray(seeds, jnp.uint32),
    }


@functools.cache
def network() -> tuple[Model, Any]:
    """The policy's network, and a start from which responses differ in probability."""
    model = models.build(CONFIG)
    return model, jax.tree.map(lambda x: 1.0 * x, jax.jit(model.init)(jax.random.key(1)))


def recipe(config: Any) -> Recipe:
    """Of an objective's configuration."""
    return Recipe(objective=config, eos_id=EOS)


def hyper(config: Any) -> dict[str, jax.Array]:
    """The traced numbers of an objective's configuration."""
    return {name: jnp.float32(value) for name, value in traced(config).items()}


class Reached(NamedTuple):
    """gain: of the objective above the reference's, as a share of the optimum's; measured: of each step."""

    gain: float
    measured: dict[str, np.ndarray]
    params: Any
    logps_R: np.ndarray


def exact_gain(logps_R: Any, reference_R: Any, beta: float) -> float:
    """(J(π) − J(π_ref))/(J* − J(π_ref)) of J = E[r] − β KL."""
    _, best = enumerable.optimum(reference_R, REWARDS_R, beta)
    before = enumerable.objective(reference_R, reference_R, REWARDS_R, beta)
    return float((enumerable.objective(logps_R, reference_R, REWARDS_R, beta) - before) / (best - before))


def train(objective: Objective, config: Any, beta: float, n_steps: int, n_rows: int, lr: float) -> Reached:
    """Trains from the start with Adam and a learning rate that falls to zero, all steps in one program.

    Args:
      objective: of the start's network.
      config: the objective's configuration.
      beta: of the exact objective.
      n_steps, n_rows: steps, and responses of each.
      lr: at the beginning.
    """
    model, start = network()
    numbers, fixed = hyper(config), {"reference": start}
    collect = objective.collect
    assert collect is not None
    updates = n_steps * objective.epochs * objective.minibatches
    optimizer = optax.adam(optax.linear_schedule(lr, 0.0, updates), b2=0.99)

    def update(state, rows):
        params, opt_state = state
        grads, (_, measured) = jax.grad(objective.loss, has_aux=True)(params, rows, numbers)
        change, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, change), opt_state), measured

    def step(state, number):
        rows = batch(n_rows, number * n_rows + jnp.arange(n_rows))
        experience, collected = collect(state[0], rows, numbers, fixed)
        (params, opt_state), measured = over_minibatches(update, state, experience, objective)
        measured |= collected
        if objective.adapt is not None:
            params = objective.adapt(params, measured, numbers)
        return (params, opt_state), measured

    @jax.jit
    def run(key):
        params = objective.place(objective.init(key), start)
        state, measured = jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(n_steps))
        return state[0], measured

    params, measured = run(jax.random.key(0))
    logps = jax.jit(lambda p: enumerable.response_logps(model, p, PROMPT, ALL))
    logps_R = logps(objective.network(params))
    gain = exact_gain(logps_R, logps(start), beta)
    return Reached(gain, jax.device_get(measured), params, np.asarray(logps_R))
