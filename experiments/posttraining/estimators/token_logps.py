"""Log-probabilities of given tokens and of whole responses, by a network that reads them in one row
(`models.one_row`).

Log-probabilities of tokens [B,T] have shape [B,T-1]: at t that of token t + 1 given the tokens up to t. A
mask of that shape is true where token t + 1 belongs to the response.
"""

import jax
import jax.numpy as jnp

from models.model import Model


def token_logps(logits_BTV: jax.Array, tokens_BT: jax.Array) -> jax.Array:
    """log p(tokens[t+1] | tokens[≤t]) of the logits at t, [B,T-1] in nats; the last ones predict nothing."""
    logps_BTV = jax.nn.log_softmax(logits_BTV[:, :-1], axis=-1)
    return jnp.take_along_axis(logps_BTV, tokens_BT[:, 1:, None], axis=-1)[..., 0]


def response_mask(prompt_lengths_B: jax.Array, lengths_B: jax.Array, n_tokens: int) -> jax.Array:
    """Where token t + 1 belongs to the response, bool[B,T-1], of rows of n_tokens: prompt, response, padding.

    Args:
      prompt_lengths_B: tokens of each row's prompt, at least 1: nothing predicts a row's first token.
      lengths_B: tokens of prompt and response together, the end of text included.
      n_tokens: T, padding included.
    """
    predicted_T = jnp.arange(1, n_tokens)
    return (predicted_T >= prompt_lengths_B[:, None]) & (predicted_T < lengths_B[:, None])


def texts(
    model: Model, prompt_lengths_B: jax.Array, lengths_B: jax.Array, n_tokens: int
) -> dict[str, jax.Array]:
    """How rows of n_tokens are to be read: {}, {"segments_BT": 1 at the text, 0 at padding}, or
    {"prompt_lengths_B"} of a network with an encoder.

    Experts of limited capacity would else drop tokens because of padding; elsewhere causality keeps it from
    mattering, and without segments a network is faster.

    Args:
      model: of `in_one_row`.
      prompt_lengths_B: tokens of the prompts.
      lengths_B: of prompts and responses together.
      n_tokens: T, padding included.
    """
    if model.takes_prompts:
        return {"prompt_lengths_B": prompt_lengths_B}
    experts = getattr(model.config, "experts", None)
    if experts is None or experts.dispatch != "capacity":
        return {}
    return {"segments_BT": (jnp.arange(n_tokens) < lengths_B[:, None]).astype(jnp.int32)}


def response_logps(logps_BT: jax.Array, mask_BT: jax.Array) -> jax.Array:
    """Log-probability of each whole response, [B], in nats: the sum over its tokens."""
    return jnp.where(mask_BT, logps_BT, 0).sum(axis=-1)


def masked_mean(x_BT: jax.Array, mask_BT: jax.Array) -> jax.Array:
    """Mean over the tokens of all rows that the mask keeps; 0 if it keeps none."""
    return jnp.where(mask_BT, x_BT, 0).sum() / jnp.maximum(mask_BT.sum(), 1)
