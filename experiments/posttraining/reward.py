"""Reward models: a number for a response, learnt from which of two was preferred."""

import jax
import jax.numpy as jnp


def pair_losses(chosen_B: jax.Array, rejected_B: jax.Array, margin_B: jax.Array | float = 0.0) -> jax.Array:
    """−log σ(r_chosen − r_rejected − margin), [B] in nats.

    Bradley and Terry's likelihood (Stiennon et al. 2020, arXiv 2009.01325, section 3.4); with the margin of
    how much better the chosen one is (Touvron et al. 2023, arXiv 2307.09288, eq. 2).
    """
    return -jax.nn.log_sigmoid(chosen_B - rejected_B - margin_B)


def centring_losses(chosen_B: jax.Array, rejected_B: jax.Array) -> jax.Array:
    """(r_chosen + r_rejected)², [B]: the likelihood leaves a constant free, this sets it so that rewards are
    0 on average (Eisenstein et al. 2023, arXiv 2312.09244, section 3)."""
    return (chosen_B + rejected_B) ** 2


def correct(chosen_B: jax.Array, rejected_B: jax.Array) -> jax.Array:
    """1 where the chosen one has the larger reward, 1/2 where both have the same, else 0: [B]."""
    return (1 + jnp.sign(chosen_B - rejected_B)) / 2
