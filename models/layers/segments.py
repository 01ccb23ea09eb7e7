"""Rows that hold several texts: which token begins one, and where in its text each stands.

segments_BT is int32 [B,T]: 1, 2, … number the texts of a row, 0 is padding. A text is a run of equal numbers.
"""

import jax
import jax.numpy as jnp


def starts(segments_BT: jax.Array) -> jax.Array:
    """Whether each token is the first of its text: bool [B,T]."""
    new_BT = segments_BT[:, 1:] != segments_BT[:, :-1]
    return jnp.pad(new_BT, ((0, 0), (1, 0)), constant_values=True)


def positions(segments_BT: jax.Array) -> jax.Array:
    """How many tokens of its text come before each: int32 [B,T]."""
    place_T = jnp.arange(segments_BT.shape[1])
    first_BT = jax.lax.cummax(jnp.where(starts(segments_BT), place_T, 0), axis=1)
    return place_T - first_BT


def same_text(segments_BT: jax.Array) -> jax.Array:
    """Whether token t may see token s, as far as texts go: bool [B,T,S]."""
    return segments_BT[:, :, None] == segments_BT[:, None, :]
