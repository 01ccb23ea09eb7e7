"""What a model says first after prompts that are tokens, such as those of a chat template."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.model import Model

ROWS = 128  # of a forward pass


def next_logps(model: Model, params: Any, prompts: Sequence[Sequence[int]]) -> np.ndarray:
    """float64[Q,V]: log-probabilities, in nats, of the token that follows each of Q prompts.

    Args:
      model: a decoder; params: its parameters.
      prompts: tokens, one at least.
    """
    lengths = np.array([len(prompt) for prompt in prompts])
    n_rows = -(-len(prompts) // ROWS) * ROWS
    tokens = np.zeros((n_rows, 8 * -(-int(lengths.max()) // 8)), np.int32)
    for row, prompt in zip(tokens, prompts):
        row[: len(prompt)] = prompt
    lengths = np.pad(lengths, (0, n_rows - len(lengths)), constant_values=1)
    found = [
        jax.device_get(_last(model, params, tokens[start : start + ROWS], lengths[start : start + ROWS]))
        for start in range(0, n_rows, ROWS)
    ]
    return np.concatenate(found).astype(np.float64)[: len(prompts)]


@functools.partial(jax.jit, static_argnums=0)
def _last(model: Model, params: Any, tokens_BT: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """Log-probabilities of what comes after the first `lengths` tokens of each row, [B,V]."""
    x_BTD, _ = model.hidden(params, tokens_BT)
    x_BD = jnp.take_along_axis(x_BTD, lengths_B[:, None, None] - 1, axis=1)
    return jax.nn.log_softmax(model.logits(params, x_BD)[:, 0])
