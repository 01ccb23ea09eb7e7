"""Which experts a token goes to, how much each weighs, and what keeps them balanced."""

from typing import Any

import jax
import jax.numpy as jnp

from models.model import Aux


def affinities(logits_BTE: jax.Array, experts: Any) -> jax.Array:
    """Router probabilities [B,T,E], or sigmoids of DeepSeek-V3."""
    return jax.nn.sigmoid(logits_BTE) if experts.scores == "sigmoid" else jax.nn.softmax(logits_BTE)


def choose(
    logits_BTE: jax.Array, experts: Any, bias_E: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """The experts of highest affinity, best first, int32 [B,T,K], and their weights, float32.

    With groups (DeepSeek-V2) only experts of the `top_groups` best are chosen: a group is as good as its best
    expert, or, by sigmoids, its best two (DeepSeek-V3).

    Args:
      logits_BTE: the router's, float32.
      experts: their `Experts`.
      bias_E: added to affinities in choosing, but not in the weights.
    """
    scores_BTE, n, groups = affinities(logits_BTE, experts), experts.n_experts, experts.n_groups
    ranked_BTE = logits_BTE if bias_E is None else scores_BTE + bias_E
    if groups > 1:
        by_group = (ranked_BTE if bias_E is not None else scores_BTE).reshape(
            *ranked_BTE.shape[:2], groups, -1
        )
        n_best = min(2, n // groups) if experts.scores == "sigmoid" else 1
        best = jax.lax.top_k(by_group, n_best)[0].sum(-1)
        kept = jax.nn.one_hot(jax.lax.top_k(best, experts.top_groups)[1], groups).sum(axis=2)
        ranked_BTE = jnp.where(jnp.repeat(kept, n // groups, axis=2) > 0, ranked_BTE, -jnp.inf)
    _, choice_BTK = jax.lax.top_k(ranked_BTE, experts.top_k)
    chosen_BTKE = jax.nn.one_hot(choice_BTK, n)
    weight_BTK = (scores_BTE[..., None, :] * chosen_BTKE).sum(-1)
    if experts.renormalize:
        weight_BTK = weight_BTK / weight_BTK.sum(-1, keepdims=True)
    return choice_BTK, weight_BTK if experts.scale == 1 else weight_BTK * experts.scale


def router_aux(experts: Any, logits_BTE: jax.Array, choice_BTK: jax.Array) -> Aux:
    """Losses that keep the router balanced and its logits small, and what shows whether they do.

    balance: n_experts · Σ_e (share of all choices that e got, dropped ones too) · (mean probability of e)
      (Fedus et al. 2021): 1 where both are uniform.
    z: mean of logsumexp(logits)² (Zoph et al. 2022).
    expert_load_max: choices of the busiest expert over those of an even share.
    router_entropy: of one token's probabilities in nats, mean over tokens.
    """
    log_probs_BTE, n = jax.nn.log_softmax(logits_BTE), experts.n_experts
    if experts.scores == "sigmoid":  # affinities as shares of their sum (eq. 17 of DeepSeek-V3)
        log_probs_BTE = jax.nn.log_sigmoid(logits_BTE)
        log_probs_BTE = log_probs_BTE - jax.nn.logsumexp(log_probs_BTE, axis=-1, keepdims=True)
    probs_BTE = jnp.exp(log_probs_BTE)
    share_E = jax.nn.one_hot(choice_BTK, n).mean(axis=(0, 1, 2))
    balance = n * (share_E * probs_BTE.mean(axis=(0, 1))).sum()
    z = (jax.nn.logsumexp(logits_BTE, axis=-1) ** 2).mean()
    return {
        "loss": experts.balance_loss * balance + experts.z_loss * z,
        "balance": balance,
        "z": z,
        "expert_load_max": n * share_E.max(),
        "router_entropy": -(probs_BTE * log_probs_BTE).sum(-1).mean(),
    }
