"""Log-probabilities of a prompt's own tokens, and the likeliest tokens in their places."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.decoding.prefill import bucket
from models.model import Model

HEAD_TOKENS = 128  # whose logits are there at a time


def prompt_scores(model: Model, params: Any, prompt: list[int], n_top: int) -> dict[str, np.ndarray]:
    """Of tokens 1, 2, … of a prompt of n: "logprobs" [n-1] in nats, "top_tokens" and "top_logprobs"
    [n-1,n_top].

    Lengths are rounded up to powers of two, so that few shapes are ever compiled.

    Args:
      model, params: a decoder.
      prompt: token ids.
      n_top: how many of the likeliest tokens to report at each position.

    Raises:
      ValueError: a network with an encoder.
    """
    if model.has_encoder:
        raise ValueError(f"echo with logprobs: a {model.config.family} scores responses, not its own prompt")
    tokens_T = np.zeros(bucket(len(prompt)) + 1, np.int32)
    tokens_T[: len(prompt)] = prompt
    scores = jax.device_get(_scores(model, params, tokens_T, n_top))
    return {name: values[: len(prompt) - 1] for name, values in scores.items()}


@functools.partial(jax.jit, static_argnums=(0, 3))
def _scores(model: Model, params, tokens_T, n_top: int):
    x_1TD, _ = model.hidden(params, tokens_T[None, :-1])
    chunk = min(HEAD_TOKENS, x_1TD.shape[1])

    def score(part):
        x_CD, target_C = part
        logprobs_CV = jax.nn.log_softmax(model.logits(params, x_CD[None])[0])
        top_CN, tokens_CN = jax.lax.top_k(logprobs_CV, n_top)
        logprobs_C = jnp.take_along_axis(logprobs_CV, target_C[:, None], axis=1)[:, 0]
        return {"logprobs": logprobs_C, "top_tokens": tokens_CN, "top_logprobs": top_CN}

    parts = (x_1TD[0].reshape(-1, chunk, x_1TD.shape[-1]), tokens_T[1:].reshape(-1, chunk))
    found = jax.lax.map(score, parts)
    return {name: values.reshape(-1, *values.shape[2:]) for name, values in found.items()}
