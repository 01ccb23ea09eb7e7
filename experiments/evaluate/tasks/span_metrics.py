"""What a checkpoint gets right, token by token and span by span, from one forward pass.

An answer is a span of consecutive tokens of a text. Greedy decoding from the text before it gives the whole
span exactly if the likeliest token is the right one at every place of it, so exact match needs no decoding.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.model import Model


@dataclass(frozen=True)
class Predictions:
    """Of every predicted token [R,T]: nats, whether it was the likeliest, and the Brier score (0 to 2)."""

    nats_RT: np.ndarray
    right_RT: np.ndarray
    brier_RT: np.ndarray


def predict(model: Model, params: Any, batches: Sequence[np.ndarray]) -> Predictions:
    """Predictions of tokens 1…T of rows int32[B,T+1], each from those before it; batches of one shape."""
    found = [jax.device_get(_predict(model, params, tokens)) for tokens in batches]
    return Predictions(*map(np.concatenate, zip(*found)))


@functools.partial(jax.jit, static_argnums=0)
def _predict(model: Model, params, tokens):
    logits_BTV, targets_BT = model.apply(params, tokens[:, :-1]), tokens[:, 1:]
    logp_BTV = jax.nn.log_softmax(logits_BTV)
    chosen_BT = jnp.take_along_axis(logp_BTV, targets_BT[..., None], axis=-1)[..., 0]
    brier_BT = jnp.exp(2 * logp_BTV).sum(axis=-1) - 2 * jnp.exp(chosen_BT) + 1
    return -chosen_BT, logits_BTV.argmax(axis=-1) == targets_BT, brier_BT


def answer_metrics(predictions: Predictions, n_answer: int) -> dict[str, float]:
    """Metrics of all answers of `n_answer` tokens in the second halves of rows, one after another.

    exact_match is the share of answers without a wrong token; token_accuracy, token_loss (nats) and brier are
    means over the same tokens.

    Raises:
      ValueError: half a row is shorter than an answer.
    """
    n_rows, length = predictions.right_RT.shape
    n_spans = length // 2 // n_answer
    if not 1 <= n_answer <= length // 2:
        raise ValueError(f"n_answer={n_answer}; half a row of {length} tokens holds 1 to {length // 2}")

    def spans(values_RT: np.ndarray) -> np.ndarray:
        return values_RT[:, length - n_spans * n_answer :].reshape(-1, n_answer)

    right = spans(predictions.right_RT)
    return {
        "n_answer": n_answer,
        "n_questions": n_rows * n_spans,
        "exact_match": float(right.all(axis=1).mean()),
        "token_accuracy": float(right.mean()),
        "token_loss": float(spans(predictions.nats_RT).mean(dtype=np.float64)),
        "brier": float(spans(predictions.brier_RT).mean(dtype=np.float64)),
    }


def misprinted(rows: np.ndarray, at: int, rng: np.random.Generator) -> np.ndarray:
    """The rows [R,T+1] with token `at` taken from another row, where by chance the same may stand."""
    order, changed = rng.permutation(len(rows)), rows.copy()
    changed[order, at] = rows[np.roll(order, 1), at]
    return changed
