"""The reward of an answer that is right or wrong, or left open: +1, -t / (1 - t), 0.

Someone who is right with probability p gains (p - t) / (1 - t) by answering: it pays above t, so a policy
that maximises this reward abstains where it is less sure than t (Chow 1970, "On optimum recognition error and
reject tradeoff"; for language models Kalai et al. 2025, arXiv 2509.04664, section 4.2). At t = 0 a guess is
never worse than to abstain, as in most benchmarks.
"""

from typing import Any

import jax
import jax.numpy as jnp

from models.decoding.rollout import Rollout


def outcomes(rolled: Rollout, answers_BRN: jax.Array) -> dict[str, jax.Array]:
    """{"right", "abstained": float32[B]}: 1 where the response is, to the token, the one or the other.

    Args:
      rolled: prompts and responses.
      answers_BRN: int32[B,2,N] for responses of at most N tokens: of each prompt the right one, and the one
        that abstains, ends included, padded with 0.
    """
    n = answers_BRN.shape[-1]
    place_BN = rolled.prompt_lengths_B[:, None] + jnp.arange(n)
    said_BN = jnp.take_along_axis(rolled.tokens_BT, place_BN, axis=1)
    same_BR = (answers_BRN == said_BN[:, None]).all(axis=-1).astype(jnp.float32)
    return {"right": same_BR[:, 0], "abstained": same_BR[:, 1]}


def score(found: dict[str, jax.Array], threshold: Any) -> jax.Array:
    """float32[B]: the reward of `outcomes` at threshold t, below 1; what is neither is wrong."""
    wrong_B = 1 - found["right"] - found["abstained"]
    return found["right"] - threshold / (1 - threshold) * wrong_B
