"""Direct preference optimization: a policy straight from preferences, without a reward model or samples.

All losses are of β and h = (log π(chosen) − log π(rejected)) − (log π_ref(chosen) − log π_ref(rejected)) of
whole responses in nats, [B]; β · log(π/π_ref) is the policy's implicit reward.
"""

import jax
import jax.numpy as jnp


def log_ratio_margin(
    chosen_B: jax.Array, rejected_B: jax.Array, reference_chosen_B: jax.Array, reference_rejected_B: jax.Array
) -> jax.Array:
    """h, [B] in nats, of the log-probabilities of whole responses.

    Args:
      chosen_B: of the chosen responses under the policy; rejected_B: of the rejected ones.
      reference_chosen_B: of the chosen responses under the reference; reference_rejected_B: of the rejected.
    """
    return (chosen_B - rejected_B) - (reference_chosen_B - reference_rejected_B)


def dpo_losses(h_B: jax.Array, beta, label_smoothing=0.0) -> jax.Array:
    """−(1 − ε) log σ(βh) − ε log σ(−βh), [B] (Rafailov et al. 2023, arXiv 2305.18290, eq. 7).

    `label_smoothing` ε is the share of labels that are taken to be flipped (cDPO, Mitchell 2023).
    """
    flipped_B = jax.nn.log_sigmoid(-beta * h_B)
    return -(1 - label_smoothing) * jax.nn.log_sigmoid(beta * h_B) - label_smoothing * flipped_B


def ipo_losses(h_B: jax.Array, beta, label_smoothing=0.0) -> jax.Array:
    """(h − 1/(2β))², [B]: stays regularized where preferences are certain (Azar et al. 2023, arXiv
    2310.12036, eq. 17, whose τ is β).

    With `label_smoothing` ε the mean of the loss and that of the flipped pair.
    """
    target = 1 / (2 * beta)
    return (1 - label_smoothing) * (h_B - target) ** 2 + label_smoothing * (-h_B - target) ** 2


def hinge_losses(h_B: jax.Array, beta, label_smoothing=0.0) -> jax.Array:
    """max(0, 1 − βh), [B] (Zhao et al. 2023, arXiv 2305.10425, eq. 9, with a reference as in Liu et al. 2023,
    arXiv 2309.06657, eq. 10).

    With `label_smoothing` ε the mean of the loss and that of the flipped pair.
    """
    right_B, flipped_B = jnp.maximum(0, 1 - beta * h_B), jnp.maximum(0, 1 + beta * h_B)
    return (1 - label_smoothing) * right_B + label_smoothing * flipped_B


LOSSES = {"dpo": dpo_losses, "ipo": ipo_losses, "hinge": hinge_losses}
