"""Reward models: a number for a response, learnt from which of two was preferred."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import Recipe
from experiments.objective import Objective
from experiments.posttraining.estimators.token_logps import texts
from models.layers.heads import scalar
from models.model import Aux, Model, last_token
from models.one_row import in_one_row


def pair_losses(chosen_B: jax.Array, rejected_B: jax.Array, margin_B: jax.Array | float = 0.0) -> jax.Array:
    """−log σ(r_chosen − r_rejected − margin), [B] in nats.

    Bradley and Terry's likelihood (Stiennon et al. 2020, arXiv 2009.01325, section 3.4); with the margin of
    how much better the chosen one is (Touvron et al. 2023, arXiv 2307.09288, eq. 2).
    """
    return -jax.nn.log_sigmoid(chosen_B - rejected_B - margin_B)


def unless_tied(batch: dict[str, jax.Array], preferred: Any, tied: Any) -> Any:
    """`preferred`, but `tied` of the pairs of a batch that are ties, [B]."""
    return jnp.where(batch["tie"] > 0, tied, preferred) if "tie" in batch else preferred


def centring_losses(chosen_B: jax.Array, rejected_B: jax.Array) -> jax.Array:
    """(r_chosen + r_rejected)², [B]: the likelihood leaves a constant free, this sets it so that rewards are
    0 on average (Eisenstein et al. 2023, arXiv 2312.09244, section 3)."""
    return (chosen_B + rejected_B) ** 2


def correct(chosen_B: jax.Array, rejected_B: jax.Array) -> jax.Array:
    """1 where the chosen one has the larger reward, 1/2 where both have the same, else 0: [B]."""
    return (1 + jnp.sign(chosen_B - rejected_B)) / 2


def brier_scores(chosen_B: jax.Array, rejected_B: jax.Array) -> jax.Array:
    """(1 − σ(r_chosen − r_rejected))², [B]: how far the probability was from what was preferred."""
    return jax.nn.sigmoid(rejected_B - chosen_B) ** 2


def calibration_error(chosen_N: np.ndarray, rejected_N: np.ndarray, n_bins: int = 10) -> float:
    """Expected calibration error of the probabilities of the side with the larger reward (Guo et al. 2017).

    The mean over bins of equally many pairs, in the order of their probability, of |share that is right −
    mean probability|.

    Args:
      chosen_N: rewards of the chosen responses.
      rejected_N: of the rejected ones.
      n_bins: at most as many as there are pairs.
    """
    difference_N = np.asarray(chosen_N, float) - np.asarray(rejected_N, float)
    confidence_N, right_N = 1 / (1 + np.exp(-np.abs(difference_N))), (1 + np.sign(difference_N)) / 2
    bins = np.array_split(np.argsort(confidence_N, kind="stable"), min(n_bins, len(difference_N)))
    gaps = [len(each) * abs(right_N[each].mean() - confidence_N[each].mean()) for each in bins]
    return float(sum(gaps) / len(difference_N))


def ensemble(
    rewards_KB: jax.Array, how: Literal["mean", "min", "uncertainty"] = "mean", coefficient: Any = 1.0
) -> jax.Array:
    """One reward [B] of K reward models' (Coste et al. 2023, arXiv 2310.02743, section 3).

    "min" is the paper's worst-case optimization, "uncertainty" is mean − coefficient · variance among the
    models. Both trust a response less, the less the models agree on it.
    """
    if how == "min":
        return rewards_KB.min(axis=0)
    return rewards_KB.mean(axis=0) - (coefficient * rewards_KB.var(axis=0) if how == "uncertainty" else 0)


def rewards_of(model: Model) -> Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array]:
    """(params, tokens_BT, prompt_lengths_B, lengths_B) -> rewards float32[B], of the last token of prompt and
    response.

    The parameters are those of `objective`; K models' are stacked, under `jax.vmap` over them.
    """
    model = in_one_row(model)
    head = scalar(model)

    def rewards(
        params: Any, tokens_BT: jax.Array, prompt_lengths_B: jax.Array, lengths_B: jax.Array
    ) -> jax.Array:
        apart = texts(model, prompt_lengths_B, lengths_B, tokens_BT.shape[1])
        return last_token(head.apply(params, tokens_BT, lengths_B, **apart), lengths_B)

    return rewards


def objective(model: Model, recipe: Recipe) -> Objective:
    """The mean of −log σ(r_chosen − r_rejected − margin), nats a pair, and the centring term.

    `batch` is of data/pair_batches.py. The network that a run starts from is the "body", under a new "head".
    Of a tie the loss is the mean of those of both orders. Validation has the loss without centring; accuracy,
    ½ of a tie, on the gold world against the true reward, too; the Brier score; overconfidence, the mean
    probability of the preferred side by the model minus the accuracy.
    """
    model = in_one_row(model)
    head = scalar(model)

    def both(params: Any, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array, Aux]:
        tokens_BT = jnp.concatenate([batch["chosen"], batch["rejected"]])
        lengths_B = jnp.concatenate([batch["chosen_lengths"], batch["rejected_lengths"]])
        apart = texts(model, jnp.tile(batch["prompt_lengths"], 2), lengths_B, tokens_BT.shape[1])
        values_BT, aux = head.apply_with_aux(params, tokens_BT, lengths_B, **apart)
        chosen_B, rejected_B = jnp.split(last_token(values_BT, lengths_B), 2)
        return chosen_B, rejected_B, aux

    def losses(chosen_B: jax.Array, rejected_B: jax.Array, batch, hyper) -> jax.Array:
        preferred_B = pair_losses(chosen_B, rejected_B, hyper["margin"] * batch["margin"])
        either_B = (pair_losses(chosen_B, rejected_B) + pair_losses(rejected_B, chosen_B)) / 2
        return unless_tied(batch, preferred_B, either_B)

    def loss(params, batch, hyper):
        chosen_B, rejected_B, aux = both(params, batch)
        loss = losses(chosen_B, rejected_B, batch, hyper).mean()
        centring = centring_losses(chosen_B, rejected_B).mean()
        measured = {f"aux_{name}" if name == "loss" else name: value for name, value in aux.items()}
        measured |= {
            "loss": loss,
            "accuracy": unless_tied(batch, correct(chosen_B, rejected_B), 0.5).mean(),
            "reward_margin": (chosen_B - rejected_B).mean(),
            "reward_mean": (chosen_B + rejected_B).mean() / 2,
        }
        total = loss + hyper["centring"] * centring + (aux["loss"] if aux else 0)
        return total, (len(chosen_B), measured)

    def measure(params, batch, hyper, fixed):
        chosen_B, rejected_B, _ = both(params, batch)
        margin_B = chosen_B - rejected_B
        right_B = unless_tied(batch, correct(chosen_B, rejected_B), 0.5)
        return {
            "loss": losses(chosen_B, rejected_B, batch, hyper),
            "accuracy": right_B,
            "brier": unless_tied(
                *(batch, brier_scores(chosen_B, rejected_B), (jax.nn.sigmoid(margin_B) - 0.5) ** 2)
            ),
            "overconfidence": jax.nn.sigmoid(jnp.abs(margin_B)) - right_B,
            "reward_margin": margin_B,
            "reward_mean": (chosen_B + rejected_B) / 2,
        } | agreement_with_gold(margin_B, batch)

    return Objective(
        init=head.init,
        axes=head.axes,
        loss=loss,
        measure=measure,
        place=lambda fresh, start: {"body": start, "head": fresh["head"]},
        network=lambda params: params["body"],
        new=("head/*",),
        cost=2.0,
    )


def agreement_with_gold(margin_B: jax.Array, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """{"gold_accuracy": [B]} where the true rewards are known: 1 if the same side has the larger one."""
    if "gold_margin" not in batch:
        return {}
    return {"gold_accuracy": (1 + jnp.sign(margin_B) * jnp.sign(batch["gold_margin"])) / 2}
