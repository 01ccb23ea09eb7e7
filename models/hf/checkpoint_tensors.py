"""The tensors of a checkpoint one by one, tied to slices of our arrays, and whether a checkpoint has them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import models
from models.configs.model_config import ModelConfig
from models.hf.entry import Entry
from models.hf.files import Tensors

# Tensors that checkpoints hold besides the parameters: tied tables once more, constants, what nothing reads.
EXTRAS = re.compile(
    r"(lm_)?head\.weight|(encoder|decoder)\.embed_tokens\.weight"
    r"|model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"
    r"|(transformer\.)?h\.\d+\.attn\.(masked_)?bias"
    r"|decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"
)
BASE = re.compile(r"(model|transformer|rwkv)\.")  # checkpoints of a model saved without its head leave it out


@dataclass(frozen=True)
class CheckpointTensor:
    """One tensor of theirs: its name and shape, and where in the arrays of `entry.paths` it lies."""

    name: str
    shape: tuple[int, ...]
    entry: Entry
    index: tuple[int, ...]  # of the layer and the expert, where there are several


def tensors_of(entries: list[Entry], shapes: dict[str, tuple[int, ...]]) -> Iterator[CheckpointTensor]:
    """Every tensor that the entries stand for, given the shapes of our arrays by path."""
    for entry in entries:
        ours = [shapes[path] for path in entry.paths]
        n_axes = ("{layer}" in entry.name) + ("{expert}" in entry.name)
        # Arrays of one element, whatever their shape: the functions show the shape of what they would make.
        empty = [np.broadcast_to(np.float32(0), shape[n_axes:]) for shape in ours]
        shape = entry.theirs(*empty).shape
        for index in np.ndindex(*ours[0][:n_axes]):
            layer, expert = (*index, 0, 0)[:2]
            number = entry.layers[layer] if entry.layers else layer
            if number >= entry.first_layer:
                yield CheckpointTensor(entry.name.format(layer=number, expert=expert), shape, entry, index)


def match(wanted: list[CheckpointTensor], tensors: Tensors) -> dict[str, CheckpointTensor]:
    """The slots by the names that their tensors have in the checkpoint.

    Raises:
      ValueError: a tensor is missing, left over or has another shape.
    """
    found, problems = {}, []
    for slot in wanted:
        name = slot.name if slot.name in tensors else BASE.sub("", slot.name, count=1)
        if name not in tensors:
            problems.append(f"{tensors.folder}: {slot.name} is missing; expected shape {slot.shape}")
        elif tensors.shape(name) != slot.shape:
            seen, file = tensors.shape(name), tensors.file(name)
            problems.append(f"{file}: {name} has shape {seen}; config.json asks for {slot.shape}")
        found[name] = slot
    for name in tensors.names():
        if name not in found and not EXTRAS.fullmatch(name):
            shape = tensors.shape(name)
            problems.append(
                f"{tensors.file(name)}: {name} of shape {shape} is left over; no parameter takes it"
            )
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError("; ".join(problems[:3]) + more)
    return found


def shapes_of(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the network's parameters by path."""
    tree = jax.eval_shape(models.build(config).init, jax.random.key(0))
    return {path: leaf.shape for path, leaf in flat(tree).items()}


def flat(tree: Any) -> dict[str, Any]:
    """The leaves of a nested dict by their paths, joined by slashes."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flat`."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree
