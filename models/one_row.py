"""Prompt and response in one row, for a network of any kind: one with an encoder reads them apart."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from models.model import Aux, Model


@functools.cache
def in_one_row(model: Model) -> Model:
    """The network as a decoder of rows of prompt, response and padding; a decoder is what it was.

    One with an encoder reads a prompt but for its last token, with which its decoder begins; then come the
    response's. So it was pretrained, and so `models.decoding` asks it. Its `hidden` takes prompt_lengths_B,
    int32, at least 1; its x is that of the tokens 0 to t from a prompt's last token on, and before that of no
    use. Its `prefill` takes whole prompts. Parameters stay the same.
    """
    if not model.has_encoder:
        return model

    def hidden(params: Any, tokens_BT: jax.Array, prompt_lengths_B: jax.Array) -> tuple[jax.Array, Aux]:
        at_T = jnp.arange(tokens_BT.shape[1])
        start_B1 = prompt_lengths_B[:, None] - 1
        inputs_BT = jnp.take_along_axis(tokens_BT, jnp.minimum(start_B1 + at_T, at_T[-1]), axis=1)
        x_BTD, aux = model.hidden(params, inputs_BT, **_source(tokens_BT, prompt_lengths_B))
        back_BT = jnp.maximum(at_T - start_B1, 0)  # from places in the decoder to places in the row
        return jnp.take_along_axis(x_BTD, back_BT[..., None], axis=1), aux

    def prefill(params: Any, tokens_BT: jax.Array, lengths_B: jax.Array, max_len: int):
        last_B1 = jnp.take_along_axis(tokens_BT, lengths_B[:, None] - 1, axis=1)
        return model.prefill(
            params, last_B1, jnp.ones_like(lengths_B), max_len, **_source(tokens_BT, lengths_B)
        )

    return dataclasses.replace(model, hidden=hidden, prefill=prefill, has_encoder=False, takes_prompts=True)


def _source(tokens_BT: jax.Array, prompt_lengths_B: jax.Array) -> dict[str, jax.Array]:
    """What the encoder reads: prompts without their last token, if they have another."""
    is_source_BT = jnp.arange(tokens_BT.shape[1]) < jnp.maximum(prompt_lengths_B - 1, 1)[:, None]
    return {"source_BS": tokens_BT, "source_mask_BS": is_source_BT}
