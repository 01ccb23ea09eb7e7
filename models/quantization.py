"""Weights of few bits in training: rounded where they are used, kept in float32 where they are learnt."""

import jax
import jax.numpy as jnp

from models.configs.layers import FULL
from models.parameters import Axes, Params


def fake_quantised(axes: Axes, w: jax.Array, bits: int) -> jax.Array:
    """A matrix rounded to 2^bits - 1 even levels around 0, of one scale an output; vectors as they are.

    The gradient goes past the rounding (the straight-through estimator, Bengio et al. 2013, arXiv 1308.3432),
    as in the training of Kumar et al. 2024 (arXiv 2411.04330).

    Args:
      axes: of w, with copies (layers that are stacked, experts) in front.
      w: float32.
      bits: 2 to 31; 32 leaves w as it is.
    """
    if bits == FULL or not axes.inputs:
        return w
    over = tuple(range(len(axes.copies), len(axes.copies) + len(axes.inputs)))
    step = jnp.maximum(jnp.abs(w).max(axis=over, keepdims=True), 1e-30) / (2 ** (bits - 1) - 1)
    return w + jax.lax.stop_gradient(jnp.round(w / step) * step - w)


def quantised(axes: Params, params: Params, bits: int) -> Params:
    """All matrices of a tree, such as a block, by the tree of their axes."""
    return params if bits == FULL else jax.tree.map(lambda a, w: fake_quantised(a, w, bits), axes, params)
