"""What all algorithms of reinforcement learning do in a step: sample responses, score them, and compare the
policy with the reference that it began as."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import models
from experiments.config import Recipe
from experiments.objective_configs import learnt_reward
from experiments.posttraining import gold
from experiments.posttraining.estimators.kl import k3
from experiments.posttraining.estimators.token_logps import masked_mean, response_mask, texts
from experiments.posttraining.reward import rewards_of
from experiments.posttraining.rl import exact_answers
from models.decoding.rollout import Rollout, rollout
from models.model import Aux, Model

# (trees of fixed parameters, rollout) -> float32[B]
RewardFunction = Callable[[dict[str, Any], Rollout], jax.Array]
KL_LIMIT = 10.0  # nats a token that may be said: a policy so far from its reference does not come back


class ScoredRollouts(NamedTuple):
    """Responses and what is known of them. logps_BT, reference_logps_BT, entropy_BT: float32 [B,T-1] in nats,
    by the training forward pass; mask_BT: the responses' tokens; reward_B: what is maximised, before any
    penalty; gold_B: the true reward, None where it is not known; outcomes: of questions with exact answers
    "right" and "abstained", float32[B], of others {}."""

    rollout: Rollout
    mask_BT: jax.Array
    logps_BT: jax.Array
    reference_logps_BT: jax.Array
    entropy_BT: jax.Array
    reward_B: jax.Array
    gold_B: jax.Array | None
    outcomes: dict[str, jax.Array]


def check(recipe: Recipe, name: str) -> None:
    """Raises ValueError for a reward nobody knows."""
    if getattr(recipe.objective, "reward", "") == "gold" and recipe.gold is None:
        raise ValueError(
            f"{name}: reward='gold' is known of examples.task='gold' only; give the source of a reward model"
        )


def reward_of(
    recipe: Recipe, fixed: dict[str, Any], rolled: Rollout, batch: dict[str, jax.Array], hyper: dict[str, Any]
) -> jax.Array:
    """float32[B]: the reward that a recipe names: the gold world's, that of exact answers, or the number of a
    reward model at the last token.

    Args:
      recipe: names it.
      fixed: "reward" of a reward model.
      rolled: prompts and responses.
      batch: "answers" of questions.
      hyper: their "threshold".
    """
    named = getattr(recipe.objective, "reward", "gold")
    if named == "gold":
        assert recipe.gold is not None
        return gold.gold_reward(recipe.gold, rolled.tokens_BT, *lengths_of(rolled))
    if named == "exact":
        return exact_answers.score(exact_answers.outcomes(rolled, batch["answers"]), hyper["threshold"])
    assert recipe.reward_model is not None
    rewards = rewards_of(models.build(recipe.reward_model))
    return rewards(fixed["reward"], rolled.tokens_BT, *lengths_of(rolled))


def trees_needed(recipe: Recipe) -> tuple[str, ...]:
    """The parameters that are read besides those that are trained."""
    return ("reference", "reward") if learnt_reward(recipe.objective) else ("reference",)


def policy_outputs(
    model: Model,
    params: Any,
    tokens_BT: jax.Array,
    prompt_lengths_B: jax.Array,
    lengths_B: jax.Array,
    temperature: Any,
) -> tuple[jax.Array, jax.Array, Aux]:
    """Log-probability of each next token, entropy of what it is drawn from, [B,T-1] in nats, and auxiliary
    scalars of the network: the training forward pass.

    Args:
      model: of `in_one_row`.
      params: the network's.
      tokens_BT: int32, prompt and response, padded on the right.
      prompt_lengths_B: int32, of the prompts.
      lengths_B: int32, of both together.
      temperature: that of the rollouts: the policy is what they were drawn from.
    """
    inputs_BT = tokens_BT[:, :-1]
    apart = texts(model, prompt_lengths_B, lengths_B, inputs_BT.shape[1])
    logits_BTV, aux = model.apply_with_aux(params, inputs_BT, **apart)
    logps_BTV = jax.nn.log_softmax(logits_BTV / temperature)
    entropy_BT = -(jnp.exp(logps_BTV) * logps_BTV).sum(axis=-1)
    return jnp.take_along_axis(logps_BTV, tokens_BT[:, 1:, None], axis=2)[..., 0], entropy_BT, aux


def sample(
    model: Model,
    recipe: Recipe,
    params: Any,
    batch: dict[str, jax.Array],
    hyper: dict[str, Any],
    fixed: dict[str, Any],
    score: RewardFunction | None = None,
) -> ScoredRollouts:
    """A response of the policy to each prompt, scored, and by the reference as well.

    Args:
      model: of policy and reference, of `in_one_row`.
      recipe: names the reward and how long responses may be.
      params: the policy's.
      batch: "tokens" int32[B,P], "lengths" int32[B], "seeds" uint32[B]; of questions "answers" int32[B,2,N].
      hyper: "temperature", and of questions "threshold".
      fixed: "reference", and "reward" of a reward model.
      score: takes the place of the recipe's reward.
    """
    rolled = respond(model, recipe, params, batch, hyper)
    asked = rolled.tokens_BT, *lengths_of(rolled), hyper["temperature"]
    logps_BT, entropy_BT, _ = policy_outputs(model, params, *asked)
    reference_BT, *_ = policy_outputs(model, fixed["reference"], *asked)
    return ScoredRollouts(
        rolled,
        response_mask(*lengths_of(rolled), rolled.tokens_BT.shape[1]),
        logps_BT,
        reference_BT,
        entropy_BT,
        score(fixed, rolled) if score else reward_of(recipe, fixed, rolled, batch, hyper),
        None if recipe.gold is None else gold.gold_reward(recipe.gold, *asked[:3]),
        exact_answers.outcomes(rolled, batch["answers"]) if "answers" in batch else {},
    )


def respond(
    model: Model, recipe: Recipe, params: Any, batch: dict[str, jax.Array], hyper: dict[str, Any]
) -> Rollout:
    """A response of the policy to each prompt.

    Args:
      model: the policy's network.
      recipe: `objective.max_new`, and the token that ends a response.
      params: of the network.
      batch, hyper: as of `sample`.
    """
    max_new = getattr(recipe.objective, "max_new")  # noqa: B009  # of all objectives that sample
    prompts = batch["tokens"], batch["lengths"], batch["seeds"]
    return rollout(model, params, *prompts, max_new, recipe.eos_id, hyper["temperature"])


def lengths_of(rolled: Rollout) -> tuple[jax.Array, jax.Array]:
    """Tokens of the prompts, and of prompts and responses together, int32[B] each."""
    return rolled.prompt_lengths_B, rolled.lengths_B


def sequence_kl(sampled: ScoredRollouts) -> jax.Array:
    """log π(response)/π_ref(response), float32[B] in nats: its mean is KL(policy‖reference) (k1)."""
    return jnp.where(sampled.mask_BT, sampled.logps_BT - sampled.reference_logps_BT, 0).sum(axis=1)


def penalised(sampled: ScoredRollouts, truncation_penalty: Any) -> jax.Array:
    """float32[B]: the reward, less the penalty of a response that was cut off before its EOS."""
    return sampled.reward_B - truncation_penalty * ~sampled.rollout.ended_B


def learnt(sampled: ScoredRollouts, mask_truncated: bool) -> jax.Array:
    """The tokens that are learnt from, bool[B,T-1]: those of responses, or only of those that have ended
    (Yu et al. 2025, arXiv 2503.14476, section 3.4: overlong filtering)."""
    return sampled.mask_BT & sampled.rollout.ended_B[:, None] if mask_truncated else sampled.mask_BT


def measured(sampled: ScoredRollouts) -> dict[str, jax.Array]:
    """Means over the responses of a step, float32 scalars.

    reward, reward_std: what is maximised, without penalties; gold: the true reward where it is known; right,
    abstained: shares, of questions with exact answers.
    kl, kl_k3: KL(policy‖reference) of whole responses in nats by two estimators; entropy: of a token.
    length: of responses in tokens; truncated: share that max_new cut off.
    mismatch: the largest difference of a token's log-probability between sampler and training forward pass.
    """
    rolled, mask_BT = sampled.rollout, sampled.mask_BT
    k3_BT = jnp.where(mask_BT, k3(sampled.logps_BT, sampled.reference_logps_BT), 0)
    found = {
        "reward": sampled.reward_B.mean(),
        "reward_std": sampled.reward_B.std(),
        "kl": sequence_kl(sampled).mean(),
        "kl_k3": k3_BT.sum(axis=1).mean(),
        "entropy": masked_mean(sampled.entropy_BT, mask_BT),
        "length": mask_BT.sum(axis=1).mean(),
        "truncated": 1 - rolled.ended_B.mean(),
        "mismatch": jnp.max(jnp.where(mask_BT, jnp.abs(rolled.logps_BT - sampled.logps_BT), 0)),
    }
    found |= {name: outcome_B.mean() for name, outcome_B in sampled.outcomes.items()}
    return found if sampled.gold_B is None else found | {"gold": sampled.gold_B.mean()}


def validated(sampled: ScoredRollouts, beta: Any) -> dict[str, Any]:
    """What is reported of each validation prompt, float32[B], and the texts; "loss" is -(reward - β KL)."""
    kl_B, rolled = sequence_kl(sampled), sampled.rollout
    prompt_lengths_B, lengths_B = lengths_of(rolled)
    texts = {"tokens": rolled.tokens_BT, "prompt_lengths": prompt_lengths_B, "lengths": lengths_B}
    found = {
        "texts": texts,
        "loss": beta * kl_B - sampled.reward_B,
        "reward": sampled.reward_B,
        "kl": kl_B,
        "length": sampled.mask_BT.sum(axis=1).astype(jnp.float32),
        "truncated": 1.0 - rolled.ended_B,
    } | sampled.outcomes
    return found if sampled.gold_B is None else found | {"gold": sampled.gold_B}
