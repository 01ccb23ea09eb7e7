"""The loss of every token of a text under a network.

The text is read exactly as in training: cut into windows of `context` tokens that do not overlap and run
across documents. A token is predicted from those before it in its window and counted once; the stream's first
token has nothing before it and is not counted.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.model import Model

LOGITS_PER_BATCH = 2**21  # 8 MiB of float32: with more, a CPU waits for its memory
LEAST_TOKENS = 2**11  # in a batch, however large the vocabulary


def token_losses(model: Model, params: Any, tokens: np.ndarray, context: int) -> np.ndarray:
    """Negative log-likelihood in nats of tokens[1:], float32 [n - 1].

    Args:
      model, params: a decoder.
      tokens: int32[n].
      context: tokens a window.
    """
    return np.concatenate(list(loss_batches(model, params, tokens, context)))


def loss_batches(
    model: Model, params: Any, tokens: np.ndarray, context: int, first: int = 0
) -> Iterator[np.ndarray]:
    """`token_losses` from window `first` on, a batch of windows at a time.

    Args:
      model, params: a decoder.
      tokens: int32[n].
      context: tokens a window.
      first: the window to begin with.

    Raises:
      ValueError: fewer than two tokens, or a network with an encoder.
    """
    if model.has_encoder:
        raise ValueError(
            f"perplexity of a running text is for decoders; family {model.config.family} predicts a target "
            "from a source: ask it --tasks"
        )
    n = len(tokens) - 1
    if n < 1:
        raise ValueError("the text is empty; give at least one document")
    n_windows = math.ceil(n / context)
    batch = min(n_windows, batch_rows(model, context))
    ahead, n_ahead = None, 0  # the next batch is at work while the one before is read
    for start in range(first, n_windows, batch):
        piece = tokens[start * context : (start + batch) * context + 1].astype(np.int32)
        n_piece = len(piece) - 1
        losses = _window_losses(model, params, np.pad(piece, (0, batch * context - n_piece)), context)
        if ahead is not None:
            yield jax.device_get(ahead)[:n_ahead]
        ahead, n_ahead = losses, n_piece
    if ahead is not None:
        yield jax.device_get(ahead)[:n_ahead]


def batch_rows(model: Model, context: int) -> int:
    """Windows of a full batch."""
    return max(1, max(LEAST_TOKENS, LOGITS_PER_BATCH // model.config.vocab_size) // context)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _window_losses(model: Model, params, tokens, context: int):
    inputs_BT, targets_BT = tokens[:-1].reshape(-1, context), tokens[1:].reshape(-1, context)
    logits_BTV = model.apply(params, inputs_BT)
    chosen_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits_BTV, axis=-1) - chosen_BT).ravel()
