"""What of the parameters is trained: all, those that patterns choose, last layers, or low-rank adapters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.config import Recipe
from experiments.objective import Objective
from models import partial_training
from models.layers import lora
from models.parameters import Axes

Tree = dict[str, Any]


@dataclass(frozen=True)
class Trainable:
    """How a whole tree of parameters is cut into what is trained and what is frozen.

    trained(key, params) -> the part that is trained: the optimizer sees nothing else, so what is frozen has
      no state, and neither decay nor momentum moves it. The key is for fresh adapters.
    frozen(params) -> the rest, the same arrays.
    whole(trained, frozen, hyper) -> params: the tree that the network reads, adapters added.
    axes: of the trained part, a tree of `models.parameters.Axes`.
    """

    trained: Callable[[jax.Array, Tree], Tree]
    frozen: Callable[[Tree], Tree]
    whole: Callable[[Tree, Tree, dict[str, jax.Array]], Tree]
    axes: Tree


def trainable(objective: Objective, recipe: Recipe) -> Trainable:
    """The part that a recipe trains.

    All parameters are a tree like the network's; else {"full": those trained as they are, "lora": adapters},
    the adapters' scale in `hyper["lora_scale"]`.

    Raises:
      ValueError: a pattern matches no parameter, or adapters no matrix.
    """
    adapters, axes, n_last = recipe.lora, objective.axes, recipe.last_layers
    if not recipe.train and adapters is None:
        return Trainable(lambda key, params: params, lambda params: {}, lambda trained, *_: trained, axes)
    patterns = (*recipe.train, *objective.new)

    def in_full(params: Tree) -> tuple[Tree, Tree]:
        return partial_training.split(params, *patterns) if patterns else ({}, params)

    full_axes = in_full(axes)[0]
    adapter_axes = {} if adapters is None else lora.adapter_axes(axes, *adapters.targets)

    def trained(key: jax.Array, params: Tree) -> Tree:
        full, added = _last_layers(in_full(params)[0], full_axes, n_last), {}
        if adapters is not None:
            added = lora.init(key, params, axes, *adapters.targets, rank=adapters.rank)
        return _without_empty(full, added)

    def frozen(params: Tree) -> Tree:
        full, rest = in_full(params)
        return {"rest": rest, "first_layers": _first_layers(full, full_axes, n_last)}

    def whole(trained: Tree, frozen: Tree, hyper: dict[str, jax.Array]) -> Tree:
        full = _joined_layers(frozen["first_layers"], trained.get("full", {}), full_axes, n_last)
        params = partial_training.join(full, frozen["rest"])
        return lora.merge(params, trained["lora"], hyper["lora_scale"]) if "lora" in trained else params

    return Trainable(trained, frozen, whole, _without_empty(full_axes, adapter_axes))


def _without_empty(full: Tree, adapters: Tree) -> Tree:
    return {name: tree for name, tree in (("full", full), ("lora", adapters)) if tree}


def _last_layers(params: Tree, axes: Tree, n: int) -> Tree:
    """Of parameters that stack layers the last n, and the others; all of them if n is 0."""
    return jax.tree.map(lambda x, a: x[-n:] if n and "layers" in a.copies else x, params, axes)


def _first_layers(params: Tree, axes: Tree, n: int) -> Tree:
    """What `_last_layers` leaves of each parameter: layers, or nothing."""
    nothing = np.zeros(0, np.float32)
    return jax.tree.map(lambda x, a: x[:-n] if n and "layers" in a.copies else nothing, params, axes)


def _joined_layers(first: Tree, last: Tree, axes: Tree, n: int) -> Tree:
    def joined(first: jax.Array, last: jax.Array, a: Axes) -> jax.Array:
        return jnp.concatenate([first, last]) if n and "layers" in a.copies else last

    return jax.tree.map(joined, first, last, axes)
