"""Reinforcement learning of a network with an encoder: what it is asked is read, what it says gets better."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from experiments.config import Recipe
from experiments.objective_configs import GRPOConfig, PPOConfig, traced
from experiments.posttraining.rl import grpo, ppo
from experiments.training.gradients import over_minibatches
from tests.tiers import slow_but

MODEL = models.build(models.ladder(16, 8, "encdec"))
PROMPTS = jnp.array([[2, 3, 5], [2, 4, 5]], jnp.int32)
ALGORITHMS = {
    "rloo": (grpo, GRPOConfig(advantage="rloo", max_new=2, group_size=4, beta=0.0)),
    "ppo": (ppo, PPOConfig(max_new=2, epochs=1, minibatches=2, beta=0.0)),
}


def score(fixed, rolled):
    """1 for a response that begins with 6 after the prompt with 3, with 7 after the one with 4."""
    wanted_B = jnp.where(rolled.tokens_BT[:, 1] == 3, 6, 7)
    return (rolled.tokens_BT[:, 3] == wanted_B).astype(jnp.float32)


@pytest.mark.parametrize("name", slow_but(["rloo"], ALGORITHMS))
def test_it_learns_an_answer_that_only_its_encoder_tells_from_the_others(name):
    """The decoder begins with the same token after either prompt."""
    module, config = ALGORITHMS[name]
    objective = module.objective(MODEL, Recipe(config), score)
    hyper = {key: jnp.float32(value) for key, value in traced(config).items()}
    network, optimizer = jax.jit(MODEL.init)(jax.random.key(0)), optax.adam(1e-2)
    params = objective.place(jax.jit(objective.init)(jax.random.key(1)), network)
    rows = np.repeat(np.arange(2), 32)

    def update(state, batch):
        params, opt_state = state
        gradient, (_, measured) = jax.grad(objective.loss, has_aux=True)(params, batch, hyper)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state), measured

    def step(state, k):
        batch = {
            "tokens": PROMPTS[rows],
            "lengths": jnp.full(64, 3),
            "seeds": (k * 64 + np.arange(64)).astype(np.uint32),
        }
        experience, measured = objective.collect(state[0], batch, hyper, {"reference": network})
        state, _ = over_minibatches(update, state, experience, objective)
        return state, measured

    run = jax.jit(lambda state: jax.lax.scan(step, state, jnp.arange(60)))
    measured = jax.device_get(run((params, optimizer.init(params)))[1])
    assert measured["reward"][:5].mean() < 0.4 and measured["reward"][-5:].mean() > 0.9
    assert measured["mismatch"].max() < 1e-4
