"""On a task whose responses are all listed: gradients without bias, and algorithms that reach the optimum."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from experiments.objective_configs import GRPOConfig, PPOConfig, RejectionConfig
from experiments.posttraining import enumerable
from experiments.posttraining.rl import grpo, ppo, rejection
from tests.experiments.posttraining.rl import enumerated
from tests.experiments.posttraining.rl.enumerated import (
    ALL,
    MAX_NEW,
    PROMPT,
    REWARDS_R,
    batch,
    network,
    recipe,
)
from tests.tiers import slow_but

BETA, N_ROWS, N_BATCHES, N_DIRECTIONS = 0.5, 16, 1024, 8
PLAIN_PPO = PPOConfig(
    max_new=MAX_NEW, beta=BETA, gae_lambda=1.0, whiten_advantages=False, value_coefficient=0.0
)
SCALE = {  # of a batch's gradient, from a mean over tokens or slots to a mean over responses
    "ppo": lambda weight: weight / N_ROWS,
    "rloo": lambda weight: MAX_NEW,
    "dr_grpo": lambda weight: MAX_NEW * 4 / 3,  # (K - 1)/K of RLOO's, K = 4
    "token": lambda weight: weight / N_ROWS,
}
CONFIGS = {
    "ppo": PLAIN_PPO,
    "rloo": GRPOConfig(advantage="rloo", max_new=MAX_NEW, beta=BETA),
    "dr_grpo": GRPOConfig(advantage="dr_grpo", max_new=MAX_NEW, beta=BETA),
    "token": GRPOConfig(advantage="rloo", normalization="token", max_new=MAX_NEW, beta=BETA),
}


@pytest.mark.parametrize("name", slow_but(["ppo"], ["ppo", "rloo", "dr_grpo", "token"]))
def test_the_gradient_of_a_step_is_that_of_the_objective_without_bias(name):
    """Hotelling's test of a few random projections over thousands of batches. The policy is not the
    reference, and the value function is a random one: as a baseline it may be anything."""
    (model, start), config = network(), CONFIGS[name]
    objective = (ppo if name == "ppo" else grpo).objective(model, recipe(config), enumerated.score)
    numbers, drawn = enumerated.hyper(config), np.random.default_rng(5)
    policy = jax.tree.map(lambda x: x + 0.3 * drawn.normal(size=x.shape).astype(np.float32) * x.std(), start)
    fresh = jax.jit(objective.init)(jax.random.key(3))
    params = objective.place(fresh, policy)
    if name == "ppo":
        head = jax.tree.map(lambda x: drawn.normal(size=x.shape).astype(np.float32), params["value"]["head"])
        params["value"] = params["value"] | {"head": head}
    directions = [
        jax.tree.map(lambda x: drawn.normal(size=x.shape).astype(np.float32), start)
        for _ in range(N_DIRECTIONS)
    ]

    def projected(gradient):
        along = [
            sum(jax.tree.leaves(jax.tree.map(lambda d, g: (d * g).sum(), direction, gradient)))
            for direction in directions
        ]
        return jnp.stack(along)

    def of_a_batch(seeds_B):
        assert objective.collect is not None
        experience, _ = objective.collect(params, batch(N_ROWS, seeds_B), numbers, {"reference": start})
        gradient, (weight, _) = jax.grad(objective.loss, has_aux=True)(params, experience, numbers)
        return projected(jax.tree.map(lambda g: -g * SCALE[name](weight), objective.network(gradient)))

    def exact(policy):
        logps_R = enumerable.response_logps(model, policy, PROMPT, ALL)
        reference_R = enumerable.response_logps(model, start, PROMPT, ALL)
        return enumerable.objective(logps_R, reference_R, REWARDS_R, BETA)

    expected_K = jax.jit(lambda p: projected(jax.grad(exact)(p)))(policy)
    seeds_NB = jnp.arange(N_BATCHES * N_ROWS, dtype=jnp.uint32).reshape(N_BATCHES, N_ROWS)
    found_NK = np.asarray(jax.jit(lambda seeds: jax.lax.map(of_a_batch, seeds, batch_size=128))(seeds_NB))
    off_K, covariance_KK = found_NK.mean(axis=0) - expected_K, np.cov(found_NK.T) / N_BATCHES
    statistic = off_K @ np.linalg.solve(covariance_KK, off_K)
    assert statistic < chi2.ppf(1 - 1e-4, N_DIRECTIONS), (off_K, np.sqrt(np.diag(covariance_KK)))
    # So sure is it: a thirtieth of the gradient's length would be found.
    assert expected_K @ np.linalg.solve(covariance_KK, expected_K) > 30**2 / 4


# GRPO's division by a group's std makes rare responses count less, and it gets there more slowly.
TRAINED = {
    "ppo": PPOConfig(max_new=MAX_NEW, beta=BETA, epochs=2, minibatches=2, gae_lambda=1.0),
    "grpo": GRPOConfig(advantage="grpo", max_new=MAX_NEW, beta=BETA, group_size=16),
    "rloo": GRPOConfig(advantage="rloo", max_new=MAX_NEW, beta=BETA, group_size=8),
}


@functools.cache
def trained(name: str, n_steps: int) -> enumerated.Reached:
    objective = (ppo if name == "ppo" else grpo).objective(
        network()[0], recipe(TRAINED[name]), enumerated.score
    )
    return enumerated.train(objective, TRAINED[name], BETA, n_steps, n_rows=256, lr=0.01)


def test_a_tenth_of_the_training_is_most_of_the_way():
    assert trained("rloo", 80).gain >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name, n_steps, gain", [("ppo", 400, 0.995), ("grpo", 1200, 0.99)])
def test_the_optimum_of_reward_less_divergence_is_reached(name, n_steps, gain):
    assert trained(name, n_steps).gain >= gain


@pytest.mark.slow
def test_distilled_best_of_n_is_the_distribution_of_best_of_n():
    config = RejectionConfig(max_new=MAX_NEW, n=4, sample_from="start")
    objective = rejection.objective(network()[0], recipe(config), enumerated.score)
    reached = enumerated.train(objective, config, BETA, n_steps=300, n_rows=256, lr=0.01)
    start_R = jax.jit(lambda p: enumerable.response_logps(network()[0], p, PROMPT, ALL))(network()[1])
    best_R = enumerable.best_of_n_logps(start_R, REWARDS_R, 4)
    assert (
        enumerable.total_variation(reached.logps_R, best_R)
        < 0.05
        < enumerable.total_variation(start_R, best_R)
    )
