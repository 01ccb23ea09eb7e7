"""Classifiers: which of some labels a text has, by a linear head on a pretrained network.

What of the network learns with the head is the run's `init.train`: nothing (feature-based transfer), its last
layers, or all of it (fine-tuning).
"""

import jax
import jax.numpy as jnp
import optax

from experiments.config import Recipe
from experiments.objective import Objective
from experiments.objective_configs import ClassifierConfig
from experiments.posttraining.estimators.token_logps import texts
from models.layers.heads import HeadedModel, classifier
from models.model import Aux, Model
from models.one_row import in_one_row


def headed(model: Model, config: ClassifierConfig) -> HeadedModel:
    """The network under a head with an output a label; apply(params, tokens_BT, lengths_B,
    **texts(in_one_row(model), lengths_B, lengths_B, T)) -> logits float32[B,C].

    A network with an encoder reads a text as it reads a prompt, and the head what its decoder makes of the
    last token.

    Raises:
      ValueError: the mean over tokens of a network with an encoder, whose decoder reads one.
    """
    if model.has_encoder and config.pool == "mean":
        raise ValueError(
            "classifier: pool='mean' with an encoder, whose decoder reads the last token alone; use 'last'"
        )
    return classifier(in_one_row(model), len(config.labels), config.pool)


def objective(model: Model, recipe: Recipe) -> Objective:
    """The mean of −log p(label), nats a text; `batch` is of data/classes.py.

    The network that a run starts from is the "body", under a new "head", which starts at zero. Validation
    has the loss, accuracy, and overconfidence: the mean probability of the likeliest label minus accuracy.
    """
    assert isinstance(recipe.objective, ClassifierConfig)
    head = headed(model, recipe.objective)
    in_row = in_one_row(model)

    def logits(params, batch: dict[str, jax.Array]) -> tuple[jax.Array, Aux]:
        tokens_BT, lengths_B = batch["tokens"], batch["lengths"]
        apart = texts(in_row, lengths_B, lengths_B, tokens_BT.shape[1])
        return head.apply_with_aux(params, tokens_BT, lengths_B, **apart)

    def loss(params, batch, hyper):
        logits_BC, aux = logits(params, batch)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits_BC, batch["labels"]).mean()
        measured = {f"aux_{name}" if name == "loss" else name: value for name, value in aux.items()}
        measured |= {"loss": loss, "accuracy": right(logits_BC, batch["labels"]).mean()}
        return loss + aux["loss"] if aux else loss, (len(logits_BC), measured)

    def measure(params, batch, hyper, fixed):
        logits_BC, _ = logits(params, batch)
        right_B = right(logits_BC, batch["labels"])
        return {
            "loss": optax.softmax_cross_entropy_with_integer_labels(logits_BC, batch["labels"]),
            "accuracy": right_B,
            "overconfidence": jax.nn.softmax(logits_BC).max(axis=-1) - right_B,
        }

    return Objective(
        init=head.init,
        axes=head.axes,
        loss=loss,
        measure=measure,
        place=lambda fresh, start: {"body": start, "head": fresh["head"]},
        network=lambda params: params["body"],
        new=("head/*",),
    )


def right(logits_BC: jax.Array, labels_B: jax.Array) -> jax.Array:
    """Whether the label is the likeliest one, float32[B]; of labels that tie the first one counts."""
    return (logits_BC.argmax(axis=-1) == labels_B).astype(jnp.float32)
