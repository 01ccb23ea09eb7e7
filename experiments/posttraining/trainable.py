"""What of the parameters is trained: all, those that patterns choose, or low-rank adapters of some."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from experiments.config import Recipe
from experiments.objective import Objective
from models import partial_training
from models.layers import lora

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
    adapters, axes = recipe.lora, objective.axes
    if not recipe.train and adapters is None:
        return Trainable(lambda key, params: params, lambda params: {}, lambda trained, *_: trained, axes)
    patterns = (*recipe.train, *objective.new)

    def in_full(params: Tree) -> tuple[Tree, Tree]:
        return partial_training.split(params, *patterns) if patterns else ({}, params)

    def trained(key: jax.Array, params: Tree) -> Tree:
        full, _ = in_full(params)
        if adapters is None:
            return _without_empty(full, {})
        return _without_empty(full, lora.init(key, params, axes, *adapters.targets, rank=adapters.rank))

    def whole(trained: Tree, frozen: Tree, hyper: dict[str, jax.Array]) -> Tree:
        params = partial_training.join(trained.get("full", {}), frozen)
        return lora.merge(params, trained["lora"], hyper["lora_scale"]) if "lora" in trained else params

    adapter_axes = {} if adapters is None else lora.adapter_axes(axes, *adapters.targets)
    return Trainable(
        trained, lambda params: in_full(params)[1], whole, _without_empty(in_full(axes)[0], adapter_axes)
    )


def _without_empty(full: Tree, adapters: Tree) -> Tree:
    return {name: tree for name, tree in (("full", full), ("lora", adapters)) if tree}
