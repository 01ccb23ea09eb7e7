"""Parameters: how they begin, what their dimensions are, and how flax modules become plain trees of them.

No flax type leaves `functional`: everywhere else parameters are nested dicts of float32 arrays.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

Params = dict[str, Any]
Keys = Iterator[jax.Array]


@dataclass(frozen=True)
class Axes:
    """What the dimensions of a parameter are, in order: stacked copies, inputs, outputs.

    Written "embed -> heads head", with copies "experts: embed -> mlp"; a vector has no inputs: "-> embed".
    Sharding reads the names; optimizers, parametrisation and low-rank adapters the roles.
    """

    copies: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.copies + self.inputs + self.outputs


def parse_axes(text: str) -> Axes:
    """`Axes` from its notation."""
    copies, _, rest = text.rpartition(":")
    inputs, _, outputs = rest.partition("->")
    return Axes(tuple(copies.split()), tuple(inputs.split()), tuple(outputs.split()))


def keys(key: jax.Array) -> Keys:
    """Thirty-two keys, more than any module has weights: one split compiles faster than a fold for each."""
    return iter(jax.random.split(key, 32))


def functional(make: Callable[..., nnx.Module]) -> tuple[Callable, Callable, Params]:
    """Splits a module constructor into `init(key) -> params`, `bind(params) -> module` and the axes.

    The constructor takes one random key a weight from an iterator; what else `init` is given goes on to it
    (a layer's place in the stack, where initial values depend on that). Params are a nested dict of float32
    arrays, the axes a like dict of `Axes`; no flax type leaves this function.
    """
    graph, state = nnx.split(nnx.eval_shape(lambda: make(keys(jax.random.key(0)))))
    axes = jax.tree.map(lambda v: v.axes, state, is_leaf=lambda node: isinstance(node, nnx.Variable))

    def init(key: jax.Array, *which: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.state(make(keys(key), *which), nnx.Param))

    def bind(params: Params):
        return nnx.merge(graph, params)

    return init, bind, nnx.to_pure_dict(axes)


def stacked(init: Callable, axes: Params, n_layers: int, *per_layer: Any) -> tuple[Callable, Params]:
    """`init` and `axes` of `n_layers` copies along a new first axis.

    Args:
      init, axes: of one copy, as `functional` gives them.
      n_layers: how many copies.
      per_layer: arrays [L] of which each copy's `init` gets its own number.
    """

    def init_all(key: jax.Array) -> Params:
        return jax.vmap(init)(jax.random.split(key, n_layers), *per_layer)

    return init_all, jax.tree.map(lambda a: Axes(("layers", *a.copies), a.inputs, a.outputs), axes)


def weight(keys: Keys, shape: tuple[int, ...], std: float, axes: str) -> nnx.Param:
    """Float32 weight from a normal distribution truncated at two standard deviations.

    Args:
      keys: the next of which is used.
      shape: inputs, then outputs, after the copies.
      std: standard deviation.
      axes: in the notation of `Axes`.
    """
    # Truncation shrinks the spread; dividing by its standard deviation restores `std`.
    draw = jax.random.truncated_normal(next(keys), -2.0, 2.0, shape, jnp.float32)
    return nnx.Param(draw * (std / 0.87962566), axes=parse_axes(axes))


def constant(value: float | jax.Array, shape: tuple[int, ...], axes: str) -> nnx.Param:
    """Float32 parameter that starts at a given value."""
    return nnx.Param(jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape), axes=parse_axes(axes))
