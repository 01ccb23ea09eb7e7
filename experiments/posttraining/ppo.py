"""Proximal policy optimization (Schulman et al. 2017, arXiv 1707.06347) of a language model."""

import jax
import jax.numpy as jnp


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
