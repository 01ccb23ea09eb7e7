"""What a policy gradient multiplies log-probabilities with: rewards that hold a KL term, and advantages.

B rows, T tokens in the convention of token_logps.py, G prompts, K responses to each. A response's tokens
stand together in its row.
"""

import jax
import jax.numpy as jnp

from experiments.posttraining.estimators.token_logps import masked_mean


def shaped_rewards(scores_B: jax.Array, kl_BT: jax.Array, mask_BT: jax.Array, kl_coef) -> jax.Array:
    """Reward of each token, [B,T]: −kl_coef · KL there, and the score at the response's last token.

    Stiennon et al. 2020 (arXiv 2009.01325), section 3.4: R = r(x, y) − β log(π(y|x)/π_ref(y|x)), by token.

    Args:
      scores_B: of the whole responses.
      kl_BT: an estimate of KL(policy‖reference) at each token: `kl.KL_ESTIMATORS`.
      mask_BT: the responses' tokens.
      kl_coef: β.
    """
    rewards_BT = jnp.where(mask_BT, -kl_coef * kl_BT, 0)
    return rewards_BT + jnp.where(_last_tokens(mask_BT), scores_B[:, None], 0)


def generalized_advantages(
    rewards_BT: jax.Array,
    values_BT: jax.Array,
    mask_BT: jax.Array,
    gamma,
    lam,
    bootstrap_B: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Advantages and returns (advantages + values), [B,T] each, 0 outside the responses.

    Schulman et al. 2016 (arXiv 1506.02438), eq. 16: A_t = Σ_k (γλ)^k δ_{t+k}, δ_t = r_t + γ V_{t+1} − V_t.

    Args:
      rewards_BT: of each token.
      values_BT: V of the state in which each token was chosen.
      mask_BT: the responses' tokens.
      gamma: discount γ; lam: λ, 0 is one step, 1 is the whole rest of the response.
      bootstrap_B: V after each response's last token: 0, the default, where the response ended, the value of
        what is cut off where it was truncated.
    """
    mask_BT = mask_BT.astype(bool)
    after_B = jnp.zeros(values_BT.shape[0], values_BT.dtype) if bootstrap_B is None else bootstrap_B
    next_values_BT = jnp.concatenate([values_BT[:, 1:], after_B[:, None]], axis=1)
    next_values_BT = jnp.where(_last_tokens(mask_BT), after_B[:, None], next_values_BT)
    deltas_BT = jnp.where(mask_BT, rewards_BT + gamma * next_values_BT - values_BT, 0)

    def step(later_B: jax.Array, delta_B: jax.Array) -> tuple[jax.Array, jax.Array]:
        advantage_B = delta_B + gamma * lam * later_B
        return advantage_B, advantage_B

    _, advantages_TB = jax.lax.scan(step, jnp.zeros_like(deltas_BT[:, 0]), deltas_BT.T, reverse=True)
    advantages_BT = jnp.where(mask_BT, advantages_TB.T, 0)
    return advantages_BT, jnp.where(mask_BT, advantages_BT + values_BT, 0)


def whiten(x_BT: jax.Array, mask_BT: jax.Array, shift_mean: bool = True) -> jax.Array:
    """(x − mean)/(std + 1e-8) over the batch's tokens that the mask keeps, 0 at the others.

    The std is the population's. Without `shift_mean` the mean is kept: Ziegler et al. 2019 (arXiv 1909.08593)
    whiten rewards without the shift and advantages with it, in their code.
    """
    mean = masked_mean(x_BT, mask_BT)
    std = jnp.sqrt(masked_mean((x_BT - mean) ** 2, mask_BT))
    whitened_BT = (x_BT - mean) / (std + 1e-8) + (0 if shift_mean else mean)
    return jnp.where(mask_BT, whitened_BT, 0)


def grpo_advantages(rewards_GK: jax.Array, ddof: int = 1, eps: float = 1e-4) -> jax.Array:
    """(r − mean)/(std + eps) within each prompt's responses, [G,K] (Shao et al. 2024, arXiv 2402.03300,
    section 4.1.2).

    The paper does not say which std: ddof 1, the sample's, is what most codebases take, 0 the population's.
    """
    std_G1 = rewards_GK.std(axis=-1, keepdims=True, ddof=ddof)
    return dr_grpo_advantages(rewards_GK) / (std_G1 + eps)


def dr_grpo_advantages(rewards_GK: jax.Array) -> jax.Array:
    """r − mean within each prompt's responses, [G,K]: no std, which favours prompts that are too easy or too
    hard (Liu et al. 2025, arXiv 2503.20783)."""
    return rewards_GK - rewards_GK.mean(axis=-1, keepdims=True)


def rloo_advantages(rewards_GK: jax.Array) -> jax.Array:
    """r − mean of the prompt's other responses, [G,K], an unbiased baseline (Ahmadian et al. 2024, arXiv
    2402.14740, eq. 7): K/(K − 1) times Dr. GRPO's."""
    n = rewards_GK.shape[-1]
    return dr_grpo_advantages(rewards_GK) * n / (n - 1)


GROUP_ADVANTAGES = {"grpo": grpo_advantages, "dr_grpo": dr_grpo_advantages, "rloo": rloo_advantages}


def _last_tokens(mask_BT: jax.Array) -> jax.Array:
    """Where a response's last token is, bool[B,T]."""
    mask_BT = mask_BT.astype(bool)
    return mask_BT & ~jnp.pad(mask_BT[:, 1:], ((0, 0), (0, 1)))
