"""What every family must do: prefill, then decode, as one full forward pass, for rows of any lengths."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.model import Model

DECODED = 4  # tokens decoded after each row's end


def assert_decoding_is_the_forward_pass(
    model: Model,
    params: Any,
    tokens_BT: jax.Array,
    lengths: tuple[int, ...] = (5, 8, 1),
    atol: float = 1e-5,
    full_BTV: jax.Array | None = None,
    **source: jax.Array,
) -> Any:
    """Prefills right-padded rows of these lengths and decodes on; returns the cache after prefill.

    `full_BTV` are the logits to equal, if not those of `model.apply`.
    """
    full_BTV = jax.jit(model.apply)(params, tokens_BT, **source) if full_BTV is None else full_BTV
    lengths_B, rows, longest = jnp.array(lengths), jnp.arange(len(lengths)), max(lengths)
    padded_BT = jnp.where(jnp.arange(longest) < lengths_B[:, None], tokens_BT[:, :longest], 7)
    prefill, decode = jax.jit(model.prefill, static_argnums=3), jax.jit(model.decode)
    logits_BV, prefilled = prefill(params, padded_BT, lengths_B, longest + DECODED, **source)
    np.testing.assert_allclose(logits_BV, full_BTV[rows, lengths_B - 1], atol=atol)
    cache = prefilled
    for step in range(DECODED):
        logits_BV, cache = decode(params, tokens_BT[rows, lengths_B + step], cache)
        np.testing.assert_allclose(logits_BV, full_BTV[rows, lengths_B + step], atol=atol)
    return prefilled
