"""How far a policy is from its reference, and how sure it is of itself.

Schulman 2020, "Approximating KL divergence" (joschu.net/blog/kl-approx.html), for k1, k2 and k3.
"""

import jax
import jax.numpy as jnp


def k1(logps_BT: jax.Array, reference_logps_BT: jax.Array) -> jax.Array:
    """log p − log q of each token: unbiased for KL(p‖q) over samples of p, often negative."""
    return logps_BT - reference_logps_BT


def k2(logps_BT: jax.Array, reference_logps_BT: jax.Array) -> jax.Array:
    """(log p − log q)²/2: biased, of little variance; its gradient is that of KL(p‖q)."""
    return (logps_BT - reference_logps_BT) ** 2 / 2


def k3(logps_BT: jax.Array, reference_logps_BT: jax.Array) -> jax.Array:
    """q/p − 1 − log(q/p): unbiased for KL(p‖q) over samples of p, never negative."""
    log_ratio_BT = reference_logps_BT - logps_BT
    return jnp.expm1(log_ratio_BT) - log_ratio_BT


KL_ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}


def exact_kl(logits_BTV: jax.Array, reference_logits_BTV: jax.Array) -> jax.Array:
    """KL(p‖q) of the next token, [...] in nats, of finite logits of p and q, [..., V]."""
    logps_BTV, reference_BTV = jax.nn.log_softmax(logits_BTV), jax.nn.log_softmax(reference_logits_BTV)
    return (jnp.exp(logps_BTV) * (logps_BTV - reference_BTV)).sum(axis=-1)


def entropy(logits_BTV: jax.Array) -> jax.Array:
    """Entropy of the next token, [...] in nats, of finite logits [..., V]."""
    logps_BTV = jax.nn.log_softmax(logits_BTV)
    return -(jnp.exp(logps_BTV) * logps_BTV).sum(axis=-1)
