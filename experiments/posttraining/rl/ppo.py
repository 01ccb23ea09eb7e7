"""Proximal policy optimization (Schulman et al. 2017, arXiv 1707.06347) of a language model: rewards of whole
responses less β KL a token, a value function, and several passes over what was sampled."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from experiments.config import Recipe
from experiments.objective import Objective
from experiments.objective_configs import PPOConfig
from experiments.posttraining.estimators import advantages
from experiments.posttraining.estimators.kl import KL_ESTIMATORS
from experiments.posttraining.estimators.token_logps import masked_mean, texts
from experiments.posttraining.rl import rollouts
from models.layers.heads import scalar
from models.model import Model
from models.one_row import in_one_row
from models.parameters import parse_axes


def objective(model: Model, recipe: Recipe, score: rollouts.RewardFunction | None = None) -> Objective:
    """PPO of a policy. Its parameters: "policy", the network that samples; "value", a network of its own with
    a scalar head, which begins as the same one; "kl_scale", what the adaptive KL term multiplies β with.

    Args:
      model: the policy's network.
      recipe: its objective is a PPOConfig.
      score: takes the place of the reward that the recipe names.

    Raises:
      ValueError: the gold reward where it is not known.
    """
    config = recipe.objective
    assert isinstance(config, PPOConfig)
    if score is None:
        rollouts.check(recipe, "ppo")
    model = in_one_row(model)
    value = scalar(model)

    def init(key: jax.Array) -> Any:
        policy_key, value_key = jax.random.split(key)
        return {
            "policy": model.init(policy_key),
            "value": value.init(value_key),
            "kl_scale": jnp.float32(1),
        }

    def place(fresh: Any, start: Any) -> Any:
        return fresh | {"policy": start, "value": fresh["value"] | {"body": start}}

    def values_of(
        params: Any, tokens_BT: jax.Array, prompt_lengths_B: jax.Array, lengths_B: jax.Array
    ) -> jax.Array:
        """V of the state in which each next token is chosen, [B,T-1]."""
        inputs_BT = tokens_BT[:, :-1]
        apart = texts(model, prompt_lengths_B, lengths_B, inputs_BT.shape[1])
        return value.apply(params, inputs_BT, lengths_B, **apart)

    def collect(params: Any, batch: Any, hyper: dict[str, Any], fixed: dict[str, Any]):
        sampled = rollouts.sample(model, recipe, params["policy"], batch, hyper, fixed, score)
        rolled = sampled.rollout
        values_BT = values_of(params["value"], rolled.tokens_BT, *rollouts.lengths_of(rolled))
        kl_coef = hyper["beta"] * params["kl_scale"]
        experience, measured = experience_of(config, sampled, values_BT, kl_coef, hyper)
        return experience | {"seeds": batch["seeds"]}, rollouts.measured(sampled) | measured

    def loss(params: Any, batch: Any, hyper: dict[str, Any]):
        texts_B, mask_BT = (batch["tokens"], batch["prompt_lengths"], batch["lengths"]), batch["mask"]
        logps_BT, entropy_BT, aux = rollouts.policy_outputs(
            *(model, params["policy"], *texts_B, hyper["temperature"])
        )
        policy_BT, clipped_BT = policy_losses(
            *(logps_BT, batch["logps"], batch["advantages"], hyper["clip"], hyper["clip_high"])
        )
        values_BT = values_of(params["value"], *texts_B)
        value_BT, value_clipped_BT = value_losses(
            *(values_BT, batch["values"], batch["returns"], hyper["value_clip"])
        )
        measured = {
            "policy_loss": policy_BT,
            "value_loss": value_BT,
            "clip_fraction": clipped_BT,
            "value_clip_fraction": value_clipped_BT,
            # Of the policy that sampled from the one that has been trained since: Schulman's k3.
            "policy_change": KL_ESTIMATORS["k3"](batch["logps"], logps_BT),
        }
        measured = {name: masked_mean(x_BT, mask_BT) for name, x_BT in measured.items()}
        total = measured["policy_loss"] + hyper["value_coefficient"] * measured["value_loss"]
        total -= hyper["entropy_coefficient"] * masked_mean(entropy_BT, mask_BT)
        return total + aux.get("loss", 0.0), (mask_BT.sum(), measured | {"loss": total})

    def measure(params: Any, batch: Any, hyper: dict[str, Any], fixed: dict[str, Any]):
        sampled = rollouts.sample(model, recipe, params["policy"], batch, hyper, fixed, score)
        return rollouts.validated(sampled, hyper["beta"])

    return Objective(
        init,
        {"policy": model.axes, "value": value.axes, "kl_scale": parse_axes("->")},
        loss,
        measure,
        collect,
        epochs=config.epochs,
        minibatches=config.minibatches,
        place=place,
        network=lambda params: params["policy"],
        new=("value/*", "kl_scale"),
        fixed=rollouts.trees_needed(recipe),
        limits={"kl": rollouts.KL_LIMIT * config.max_new, "reward": math.inf},
        # Two networks in each update; forward passes of sampler, policy, reference, value and reward before.
        cost=2 * config.epochs + 5 / 3,
        adapt=adapt,
    )


def adapt(params: Any, measured: dict[str, jax.Array], hyper: dict[str, Any]) -> Any:
    """The parameters with the KL term scaled for the next step, where `kl_target` asks for it."""
    target = hyper["kl_target"]
    adapted = adapted_kl_coef(
        *(params["kl_scale"], measured["kl"], jnp.maximum(target, 1e-6), 1.0, 1 / hyper["kl_gain"])
    )
    return params | {"kl_scale": jnp.where(target > 0, adapted, params["kl_scale"])}


def experience_of(
    config: PPOConfig,
    sampled: rollouts.ScoredRollouts,
    values_BT: jax.Array,
    kl_coef: jax.Array,
    hyper: dict[str, Any],
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """What a step learns from: sampled responses with the advantage and return of each token; and how far the
    values were from the returns.

    Args:
      config: which KL estimator, and what is whitened or left out.
      sampled: the responses, scored.
      values_BT: the value function's, [B,T-1].
      kl_coef: β of this step.
      hyper: "truncation_penalty", "gamma", "gae_lambda".
    """
    rolled, mask_BT = sampled.rollout, sampled.mask_BT
    kl_BT = KL_ESTIMATORS[config.kl](sampled.logps_BT, sampled.reference_logps_BT)
    scores_B = rollouts.penalised(sampled, hyper["truncation_penalty"])
    rewards_BT = advantages.shaped_rewards(scores_B, kl_BT, mask_BT, kl_coef)
    if config.whiten_rewards:
        rewards_BT = advantages.whiten(rewards_BT, mask_BT, shift_mean=False)
    advantages_BT, returns_BT = advantages.generalized_advantages(
        *(rewards_BT, values_BT, mask_BT, hyper["gamma"], hyper["gae_lambda"])
    )
    learnt_BT = rollouts.learnt(sampled, config.mask_truncated)
    if config.whiten_advantages:
        advantages_BT = advantages.whiten(advantages_BT, learnt_BT)
    experience = {
        "tokens": rolled.tokens_BT,
        "prompt_lengths": rolled.prompt_lengths_B,
        "lengths": rolled.lengths_B,
        "mask": learnt_BT,
        "logps": sampled.logps_BT,
        "values": values_BT,
        "advantages": advantages_BT,
        "returns": returns_BT,
    }
    spread = masked_mean((returns_BT - masked_mean(returns_BT, mask_BT)) ** 2, mask_BT)
    error = masked_mean((values_BT - returns_BT) ** 2, mask_BT)
    return experience, {
        "kl_coef": kl_coef,
        "value_error": error,
        "explained_variance": 1 - error / jnp.maximum(spread, 1e-8),
    }


def policy_losses(
    logps_BT: jax.Array, old_logps_BT: jax.Array, advantages_BT: jax.Array, clip_low, clip_high
) -> tuple[jax.Array, jax.Array]:
    """−min(ρA, clip(ρ, 1 − ε_low, 1 + ε_high)A) of each token, and where the clip binds, bool; [B,T] each.

    ρ = π/π_old. Eq. 7 of the paper, with ε_low = ε_high; a larger ε_high is Yu et al. 2025 (arXiv
    2503.14476), section 3.1. Where the clip binds the token has no gradient.

    Args:
      logps_BT: of the policy that is trained.
      old_logps_BT: of the policy that sampled.
      advantages_BT: of each token, constants.
      clip_low: ε_low; clip_high: ε_high.
    """
    ratio_BT = jnp.exp(logps_BT - old_logps_BT)
    free_BT = ratio_BT * advantages_BT
    clipped_BT = jnp.clip(ratio_BT, 1 - clip_low, 1 + clip_high) * advantages_BT
    return -jnp.minimum(free_BT, clipped_BT), clipped_BT < free_BT


def outside(logps_BT: jax.Array, old_logps_BT: jax.Array, clip_low, clip_high) -> jax.Array:
    """Where ρ has left [1 − ε_low, 1 + ε_high], whether or not the clip binds there, bool[B,T].

    Args:
      logps_BT, old_logps_BT: of the tokens under the policy and under the one that sampled them.
      clip_low, clip_high: the ε.
    """
    ratio_BT = jnp.exp(logps_BT - old_logps_BT)
    return (ratio_BT < 1 - clip_low) | (ratio_BT > 1 + clip_high)


def value_losses(
    values_BT: jax.Array, old_values_BT: jax.Array, returns_BT: jax.Array, clip
) -> tuple[jax.Array, jax.Array]:
    """½ max((V − R)², (V_clipped − R)²) of each token, and where the clip binds, bool; [B,T] each.

    V_clipped is within `clip` of the value at the time of sampling, as in OpenAI's baselines ("The 37
    implementation details of PPO", Huang et al. 2022, no. 9). An infinite clip is the plain squared error.

    Args:
      values_BT: of the value function that is trained.
      old_values_BT: of the one at the time of sampling.
      returns_BT: R, constants.
      clip: how far a value may move.
    """
    clipped_BT = old_values_BT + jnp.clip(values_BT - old_values_BT, -clip, clip)
    free_BT, bound_BT = (values_BT - returns_BT) ** 2, (clipped_BT - returns_BT) ** 2
    return jnp.maximum(free_BT, bound_BT) / 2, bound_BT > free_BT


def adapted_kl_coef(kl_coef, kl, target, n_samples, horizon) -> jax.Array:
    """The next coefficient of the KL term: β (1 + e · n_samples/horizon), e = clip(KL/target − 1, ±0.2).

    Ziegler et al. 2019 (arXiv 1909.08593), section 2.2, whose constant K_β is 0.1 a step; a horizon in
    samples, so that it does not depend on the batch size, is from their code.

    Args:
      kl_coef: β of the step that is over.
      kl: KL(policy‖reference) of whole responses measured in it, in nats.
      target: KL that is aimed at, in nats.
      n_samples: responses of the step.
      horizon: 1/K_β, in responses.
    """
    error = jnp.clip(kl / target - 1, -0.2, 0.2)
    return kl_coef * (1 + error * n_samples / horizon)
