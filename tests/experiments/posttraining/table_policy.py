"""A policy that is a table: for every beginning of a text its own logits. So it can be any distribution, and
what an algorithm should come to does not depend on what a network can learn."""

from typing import Any

import jax
import jax.numpy as jnp

from models import TransformerConfig
from models.model import Model


def table_policy(vocab_size: int, max_tokens: int) -> Model:
    """Parameters {"table": float32[beginnings, V]}, normal; of texts of at most `max_tokens` tokens."""
    n_beginnings = sum(vocab_size**t for t in range(max_tokens + 1)) + 1

    def init(key: jax.Array) -> Any:
        return {"table": 0.5 * jax.random.normal(key, (n_beginnings, vocab_size))}

    def hidden(params, tokens_BT, segments_BT=None):
        beginning_B, beginnings = jnp.zeros(len(tokens_BT), jnp.int32), []
        for t in range(tokens_BT.shape[1]):
            beginning_B = beginning_B * vocab_size + tokens_BT[:, t] + 1
            beginnings.append(beginning_B)
        return jnp.stack(beginnings, axis=1), {}

    config = TransformerConfig(vocab_size, 8, 1, 1, 1, 8, 8)
    unused: Any = None
    return Model(config, init, hidden, lambda params, x: params["table"][x], unused, unused)
