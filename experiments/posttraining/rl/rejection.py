"""Fine-tuning on the best of several sampled responses: best-of-n distilled into the policy, or, sampled from
the policy itself as it gets better, expert iteration.

Rejection sampling fine-tuning of Touvron et al. 2023 (arXiv 2307.09288, section 3.2.3); expert iteration of
Anthony et al. 2017 (arXiv 1705.08439), of language models in Gulcehre et al. 2023 (ReST, arXiv 2308.08998).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from experiments.config import Recipe
from experiments.objective import Objective
from experiments.objective_configs import RejectionConfig
from experiments.posttraining.estimators.token_logps import masked_mean, response_mask
from experiments.posttraining.rl import rollouts
from models.model import Model
from models.one_row import in_one_row


def objective(model: Model, recipe: Recipe, score: rollouts.RewardFunction | None = None) -> Objective:
    """Cross-entropy of each prompt's best response, a mean over tokens; the network is all its parameters.

    Args:
      model: the network.
      recipe: its objective is a RejectionConfig; rows of a batch come in groups of one prompt.
      score: takes the place of the reward that the recipe names.

    Raises:
      ValueError: the gold reward where it is not known.
    """
    config = recipe.objective
    assert isinstance(config, RejectionConfig)
    if score is None:
        rollouts.check(recipe, "rejection")
    model = in_one_row(model)

    def collect(params: Any, batch: Any, hyper: dict[str, Any], fixed: dict[str, Any]):
        sampler = fixed["reference"] if config.sample_from == "start" else params
        rolled = rollouts.respond(model, recipe, sampler, batch, hyper)
        rewards_B = score(fixed, rolled) if score else rollouts.reward_of(recipe, fixed, rolled, batch, hyper)
        tokens_BT, ended_B = rolled.tokens_BT, rolled.ended_B
        mask_BT = response_mask(*rollouts.lengths_of(rolled), tokens_BT.shape[1])
        best_G = best(rewards_B, config.n)
        experience = {"tokens": tokens_BT, "lengths": rolled.lengths_B, "mask": mask_BT}
        experience |= {"prompt_lengths": rolled.prompt_lengths_B}
        return jax.tree.map(lambda x: x[best_G], experience | {"seeds": batch["seeds"]}), {
            "reward": rewards_B.mean(),
            "reward_std": rewards_B.std(),
            "reward_best": rewards_B[best_G].mean(),
            "length": mask_BT.sum(axis=1).mean(),
            "truncated": 1 - ended_B.mean(),
        }

    def loss(params: Any, batch: Any, hyper: dict[str, Any]):
        lengths = batch["prompt_lengths"], batch["lengths"]
        logps_BT, _, aux = rollouts.policy_outputs(model, params, batch["tokens"], *lengths, 1.0)
        loss = -masked_mean(logps_BT, batch["mask"])
        return loss + aux.get("loss", 0.0), (batch["mask"].sum(), {"loss": loss})

    def measure(params: Any, batch: Any, hyper: dict[str, Any], fixed: dict[str, Any]):
        return rollouts.validated(
            rollouts.sample(model, recipe, params, batch, hyper, fixed, score), beta=jnp.float32(0)
        )

    return Objective(
        model.init,
        model.axes,
        loss,
        measure,
        collect,
        fixed=rollouts.trees_needed(recipe),
        limits={"reward": math.inf},
        cost=1 / config.n + 2 / 3,
    )


def best(rewards_B: jax.Array, n: int) -> jax.Array:
    """int32[B/n]: the row of the largest reward in each group of n adjacent rows, the first of equals."""
    best_G = rewards_B.reshape(-1, n).argmax(axis=1)
    return jnp.arange(len(best_G)) * n + best_G
