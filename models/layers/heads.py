"""Heads that answer with classes or numbers, on top of any network."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from models.layers.linear import project
from models.model import Aux, Model, last_token
from models.parameters import Keys, Params, constant, functional


@dataclass(frozen=True)
class HeadedModel:
    """A network with another head than that over the vocabulary, as functions.

    init(key) -> params, {"body": the network's, "head": its own}; put a trained network in place of "body".
    apply_with_aux(params, tokens_BT, lengths_B, **source) -> (output, aux): rows are padded on the right and
      padding changes nothing; `aux` is what the network's `hidden` gives.
    axes: a tree of `parameters.Axes` like params
    """

    config: Any
    init: Callable
    apply_with_aux: Callable
    axes: Any = field(default=None, compare=False)

    def apply(self, params: Params, tokens_BT: jax.Array, lengths_B: jax.Array, **source: jax.Array):
        """The output alone."""
        return self.apply_with_aux(params, tokens_BT, lengths_B, **source)[0]


class LinearHead(nnx.Module):
    """x W + b in float32. It starts at zero: classes equally probable, values 0, at any width."""

    def __init__(self, d_model: int, n_outputs: int, keys: Keys):
        self.w = constant(0.0, (d_model, n_outputs), "embed -> classes")
        self.b = constant(0.0, (n_outputs,), "-> classes")

    def __call__(self, x: jax.Array) -> jax.Array:
        return project(x.astype(jnp.float32), self.w, self.b)


def classifier(model: Model, n_classes: int, pool: Literal["last", "mean"] = "last") -> HeadedModel:
    """Logits of classes [B,C], float32, from a row's last real token or the mean over its real tokens.

    Raises:
      ValueError: fewer than two classes, or another way of pooling.
    """
    if n_classes < 2:
        raise ValueError(f"classifier: n_classes={n_classes}; it must be at least 2 (one number: `scalar`)")
    if pool not in ("last", "mean"):
        raise ValueError(f"classifier: pool={pool!r}; allowed are 'last' and 'mean'")
    return _head(model, n_classes, last_token if pool == "last" else mean)


def scalar(model: Model) -> HeadedModel:
    """One number for each token, [B,T] float32, 0 at padding.

    A value function reads them all, a reward that of the row's last token:
    `last_token(values_BT, lengths_B)`.
    """

    def at_tokens(x_BTD: jax.Array, lengths_B: jax.Array) -> jax.Array:
        return x_BTD

    head = _head(model, 1, at_tokens)

    def apply_with_aux(params: Params, tokens_BT: jax.Array, lengths_B: jax.Array, **source: jax.Array):
        values_BT1, aux = head.apply_with_aux(params, tokens_BT, lengths_B, **source)
        return jnp.where(_real(tokens_BT.shape[1], lengths_B), values_BT1[..., 0], 0), aux

    return HeadedModel(model.config, head.init, apply_with_aux, head.axes)


def mean(x_BTD: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """Mean over each row's real tokens, [B,D] float32."""
    real_BT1 = _real(x_BTD.shape[1], lengths_B)[..., None]
    return jnp.where(real_BT1, x_BTD.astype(jnp.float32), 0).sum(axis=1) / lengths_B[:, None]


def _real(n: int, lengths_B: jax.Array) -> jax.Array:
    return jnp.arange(n) < lengths_B[:, None]


def _head(model: Model, n_outputs: int, pool: Callable) -> HeadedModel:
    init_head, bind, axes = functional(lambda keys: LinearHead(model.config.d_model, n_outputs, keys))

    def init(key: jax.Array) -> Params:
        key_body, key_head = jax.random.split(key)
        return {"body": model.init(key_body), "head": init_head(key_head)}

    def apply_with_aux(
        params: Params, tokens_BT: jax.Array, lengths_B: jax.Array, **source: jax.Array
    ) -> tuple[jax.Array, Aux]:
        x_BTD, aux = model.hidden(params["body"], tokens_BT, **source)
        return bind(params["head"])(pool(x_BTD, lengths_B)), aux

    return HeadedModel(model.config, init, apply_with_aux, {"body": model.axes, "head": axes})
