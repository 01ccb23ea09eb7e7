"""Group relative policy optimization: PPO's surrogate without a value function, a prompt's responses being
each other's baseline (Shao et al. 2024, arXiv 2402.03300).

The loss of a token is that of ppo.policy_losses with the response's advantage (estimators/advantages.py),
plus kl_coef · k3; what differs is how tokens are averaged.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from experiments.posttraining.estimators.kl import k3
from experiments.posttraining.ppo import policy_losses

Normalization = Literal["token", "sequence", "constant"]


def token_losses(
    logps_BT: jax.Array,
    old_logps_BT: jax.Array,
    reference_logps_BT: jax.Array,
    advantages_B: jax.Array,
    clip_low,
    clip_high,
    kl_coef,
) -> tuple[jax.Array, jax.Array]:
    """Loss of each token, and where the clip binds, bool; [B,T] each (eq. 3 and 4 of the paper).

    Args:
      logps_BT: of the policy that is trained.
      old_logps_BT: of the policy that sampled.
      reference_logps_BT: of the reference policy.
      advantages_B: of whole responses, constants.
      clip_low: ε_low; clip_high: ε_high.
      kl_coef: β.
    """
    losses_BT, clipped_BT = policy_losses(logps_BT, old_logps_BT, advantages_B[:, None], clip_low, clip_high)
    return losses_BT + kl_coef * k3(logps_BT, reference_logps_BT), clipped_BT


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
