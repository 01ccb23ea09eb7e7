"""Direct preference optimization: a policy straight from preferences, without a reward model or samples.

All losses are of β and h = (log π(chosen) − log π(rejected)) − (log π_ref(chosen) − log π_ref(rejected)) of
whole responses in nats, [B]; β · log(π/π_ref) is the policy's implicit reward.
"""

from typing import Any

import jax
import jax.numpy as jnp

from experiments.config import Recipe
from experiments.objective import Objective
from experiments.objective_configs import DPOConfig
from experiments.posttraining.estimators.kl import exact_kl
from experiments.posttraining.estimators.token_logps import (
    response_logps,
    response_mask,
    texts,
    token_logps,
)
from experiments.posttraining.reward import agreement_with_gold, correct, unless_tied
from models.model import Aux, Model
from models.one_row import in_one_row


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


def objective(model: Model, recipe: Recipe) -> Objective:
    """The mean of one of LOSSES over pairs; `batch` is of data/pair_batches.py.

    The reference is the network that a run starts from; its log-probabilities are computed once a step. A
    tie is a pair whose label is wrong with probability ½ (cDPO's ε).
    Validation has the loss; accuracy (½ of a tie) and margin of the implicit rewards, on the gold world also
    the accuracy against the true reward; the log-probabilities of both sides; and "kl", KL(policy‖reference)
    of the next token summed over a response, on the pairs' responses and not on the policy's own.
    """
    assert isinstance(recipe.objective, DPOConfig)
    losses = LOSSES[recipe.objective.loss]
    model = in_one_row(model)

    def losses_of(h_B: jax.Array, batch, hyper) -> jax.Array:
        return losses(h_B, hyper["beta"], unless_tied(batch, hyper["label_smoothing"], 0.5))

    def accuracy(h_B: jax.Array, batch) -> jax.Array:
        return unless_tied(batch, correct(h_B, jnp.zeros_like(h_B)), 0.5)

    def collect(params, batch, hyper, fixed):
        (chosen_B, rejected_B), _, _ = pair_logps(model, fixed["reference"], batch)
        return batch | {"reference_chosen": chosen_B, "reference_rejected": rejected_B}, {}

    def loss(params, batch, hyper):
        (chosen_B, rejected_B), _, aux = pair_logps(model, params, batch)
        h_B = log_ratio_margin(chosen_B, rejected_B, batch["reference_chosen"], batch["reference_rejected"])
        loss = losses_of(h_B, batch, hyper).mean()
        measured = {f"aux_{name}" if name == "loss" else name: value for name, value in aux.items()}
        measured |= {
            "loss": loss,
            "accuracy": accuracy(h_B, batch).mean(),
            "reward_margin": hyper["beta"] * h_B.mean(),
            "chosen_logp": chosen_B.mean(),
            "rejected_logp": rejected_B.mean(),
        }
        return loss + (aux["loss"] if aux else 0), (len(h_B), measured)

    def measure(params, batch, hyper, fixed):
        sides, logits_BTV, _ = pair_logps(model, params, batch)
        reference_sides, reference_BTV, _ = pair_logps(model, fixed["reference"], batch)
        h_B = log_ratio_margin(*sides, *reference_sides)
        kl_B = response_logps(exact_kl(logits_BTV, reference_BTV)[:, :-1], _mask(batch))
        return {
            "loss": losses_of(h_B, batch, hyper),
            "accuracy": accuracy(h_B, batch),
            "reward_margin": hyper["beta"] * h_B,
            "chosen_logp": sides[0],
            "rejected_logp": sides[1],
            "kl": jnp.stack(jnp.split(kl_B, 2)).mean(axis=0),
        } | agreement_with_gold(h_B, batch)

    return Objective(
        model.init, model.axes, loss, measure, collect=collect, fixed=("reference",), cost=2 * 4 / 3
    )


def pair_logps(
    model: Model, params: Any, batch: dict[str, jax.Array]
) -> tuple[tuple[jax.Array, jax.Array], jax.Array, Aux]:
    """Log-probabilities of the chosen and the rejected responses, [B] each in nats; the logits [2B,T,V],
    chosen ones first; what else the network measured."""
    tokens_BT = jnp.concatenate([batch["chosen"], batch["rejected"]])
    lengths_B = jnp.concatenate([batch["chosen_lengths"], batch["rejected_lengths"]])
    apart = texts(model, jnp.tile(batch["prompt_lengths"], 2), lengths_B, tokens_BT.shape[1])
    logits_BTV, aux = model.apply_with_aux(params, tokens_BT, **apart)
    chosen_B, rejected_B = jnp.split(response_logps(token_logps(logits_BTV, tokens_BT), _mask(batch)), 2)
    return (chosen_B, rejected_B), logits_BTV, aux


def _mask(batch: dict[str, jax.Array]) -> jax.Array:
    """Where the next token is the response's, bool[2B,T-1], chosen ones first."""
    lengths_B = jnp.concatenate([batch["chosen_lengths"], batch["rejected_lengths"]])
    return response_mask(jnp.tile(batch["prompt_lengths"], 2), lengths_B, batch["chosen"].shape[1])
