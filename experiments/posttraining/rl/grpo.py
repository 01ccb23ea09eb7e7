"""Group relative policy optimization: PPO's surrogate without a value function, a prompt's responses being
each other's baseline (Shao et al. 2024, arXiv 2402.03300).

The loss of a token is that of ppo.policy_losses with the response's advantage (estimators/advantages.py),
plus kl_coef · k3 if the KL is not in the rewards; what differs is how tokens are averaged.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from experiments.config import Recipe
from experiments.objective import Objective
from experiments.objective_configs import GRPOConfig
from experiments.posttraining.estimators.advantages import GROUP_ADVANTAGES
from experiments.posttraining.estimators.kl import KL_ESTIMATORS, k3
from experiments.posttraining.estimators.token_logps import masked_mean
from experiments.posttraining.rl import rollouts
from experiments.posttraining.rl.ppo import policy_losses
from models.model import Model
from models.one_row import in_one_row

Normalization = Literal["token", "sequence", "constant"]
OWN: dict[str, Normalization] = {"grpo": "sequence", "dr_grpo": "constant", "rloo": "constant"}


def objective(model: Model, recipe: Recipe, score: rollouts.RewardFunction | None = None) -> Objective:
    """GRPO, Dr. GRPO or RLOO of a policy, whose network is all its parameters.

    Args:
      model: the policy's network.
      recipe: its objective is a GRPOConfig; rows of a batch come in groups of one prompt.
      score: takes the place of the reward that the recipe names.

    Raises:
      ValueError: the gold reward where it is not known.
    """
    config = recipe.objective
    assert isinstance(config, GRPOConfig)
    if score is None:
        rollouts.check(recipe, "grpo")
    model = in_one_row(model)
    normalization: Normalization = (
        OWN[config.advantage] if config.normalization == "own" else config.normalization
    )

    def collect(params: Any, batch: Any, hyper: dict[str, Any], fixed: dict[str, Any]):
        sampled = rollouts.sample(model, recipe, params, batch, hyper, fixed, score)
        rewards_B = rollouts.penalised(sampled, hyper["truncation_penalty"])
        if config.kl_in == "rewards":
            rewards_B = rewards_B - hyper["beta"] * rollouts.sequence_kl(sampled)
        rewards_GK = rewards_B.reshape(-1, config.group_size)
        scores_GK = sampled.reward_B.reshape(-1, config.group_size)
        experience = {
            "tokens": sampled.rollout.tokens_BT,
            "prompt_lengths": sampled.rollout.prompt_lengths_B,
            "lengths": sampled.rollout.lengths_B,
            "mask": rollouts.learnt(sampled, config.mask_truncated),
            "logps": sampled.logps_BT,
            "reference_logps": sampled.reference_logps_BT,
            "advantages": GROUP_ADVANTAGES[config.advantage](rewards_GK).reshape(-1),
            "seeds": batch["seeds"],
        }
        return experience, rollouts.measured(sampled) | {
            # Groups that the reward does not tell apart: nothing is learnt from them but the KL.
            "equal_groups": (scores_GK.max(axis=1) == scores_GK.min(axis=1)).mean(),
        }

    def loss(params: Any, batch: Any, hyper: dict[str, Any]):
        mask_BT, reference_BT = batch["mask"], batch["reference_logps"]
        lengths = batch["prompt_lengths"], batch["lengths"]
        logps_BT, _, aux = rollouts.policy_outputs(
            *(model, params, batch["tokens"], *lengths, hyper["temperature"])
        )
        losses_BT, clipped_BT = token_losses(
            *(logps_BT, batch["logps"], reference_BT, batch["advantages"], hyper["clip"], hyper["clip_high"]),
            hyper["beta"] if config.kl_in == "loss" else 0.0,
            config.kl,
        )
        total, weight = normalized(losses_BT, mask_BT, normalization, config.max_new)
        measured = {
            "loss": total,
            "clip_fraction": masked_mean(clipped_BT, mask_BT),
            "policy_change": masked_mean(k3(batch["logps"], logps_BT), mask_BT),
        }
        return total + aux.get("loss", 0.0), (weight, measured)

    def measure(params: Any, batch: Any, hyper: dict[str, Any], fixed: dict[str, Any]):
        sampled = rollouts.sample(model, recipe, params, batch, hyper, fixed, score)
        return rollouts.validated(sampled, hyper["beta"])

    return Objective(
        model.init,
        model.axes,
        loss,
        measure,
        collect,
        epochs=config.epochs,
        minibatches=config.minibatches,
        fixed=rollouts.trees_needed(recipe),
        limits={"kl": rollouts.KL_LIMIT * config.max_new, "reward": math.inf},
        # Forward passes of sampler, policy, reference and reward before the updates.
        cost=config.epochs + 4 / 3,
    )


def token_losses(
    logps_BT: jax.Array,
    old_logps_BT: jax.Array,
    reference_logps_BT: jax.Array,
    advantages_B: jax.Array,
    clip_low,
    clip_high,
    kl_coef,
    kl: str = "k3",
) -> tuple[jax.Array, jax.Array]:
    """Loss of each token, and where the clip binds, bool; [B,T] each (eq. 3 and 4 of the paper).

    Args:
      logps_BT: of the policy that is trained.
      old_logps_BT: of the policy that sampled.
      reference_logps_BT: of the reference policy.
      advantages_B: of whole responses, constants.
      clip_low: ε_low; clip_high: ε_high.
      kl_coef: β.
      kl: the estimator, a name of KL_ESTIMATORS.
    """
    losses_BT, clipped_BT = policy_losses(logps_BT, old_logps_BT, advantages_B[:, None], clip_low, clip_high)
    return losses_BT + kl_coef * KL_ESTIMATORS[kl](logps_BT, reference_logps_BT), clipped_BT


def normalized(
    losses_BT: jax.Array, mask_BT: jax.Array, normalization: Normalization, max_new: int
) -> tuple[jax.Array, jax.Array]:
    """The batch's loss, a mean, and its weight among micro-batches: tokens under "token", else responses.

    "sequence" is GRPO's: the mean over a response's tokens, then over responses. "token" is the mean over all
    tokens (DAPO, Yu et al. 2025, arXiv 2503.14476, eq. 12). "constant" divides every response's sum by
    max_new, so that long wrong responses are not favoured (Dr. GRPO, Liu et al. 2025, arXiv 2503.20783).

    Args:
      losses_BT: of each token.
      mask_BT: the responses' tokens.
      normalization: see above.
      max_new: tokens that a response may have, read by "constant" only.
    """
    mask_BT = mask_BT.astype(bool)
    sums_B, n_B = jnp.where(mask_BT, losses_BT, 0).sum(axis=-1), mask_BT.sum(axis=-1)
    if normalization == "token":
        n = jnp.maximum(n_B.sum(), 1).astype(losses_BT.dtype)
        return sums_B.sum() / n, n
    per_response_B = sums_B / (max_new if normalization == "constant" else jnp.maximum(n_B, 1))
    return per_response_B.mean(), jnp.asarray(len(sums_B), losses_BT.dtype)
