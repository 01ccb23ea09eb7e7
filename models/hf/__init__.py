"""Hugging Face checkpoints in and out.

`load(folder) -> (config, params)`, `save(config, params, folder)`. One module an architecture, or a group of
near ones: how its config.json is read and written, and which of its tensors is which parameter of ours.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import jax
import numpy as np

from models.configs.model_config import Dtype, ModelConfig
from models.hf import sequence_classification
from models.hf.checkpoint_tensors import CheckpointTensor, flat, match, nested, shapes_of, tensors_of
from models.hf.config_json import ARCHITECTURES, config_from_json, config_to_json
from models.hf.files import SHARD_BYTES, Tensor, Tensors, read_json, whole_folder, write_tensors
from models.parameters import Params

__all__ = ["ARCHITECTURES", "load", "load_config", "save"]


def load(folder: Path | str, dtype: Dtype = "float32") -> tuple[ModelConfig, Params]:
    """Configuration and float32 parameters of a checkpoint; `dtype` is the compute type.

    Tensors are read one at a time into arrays of the model's size.

    Raises:
      ValueError: an architecture or a field that we do not support; a tensor that is missing, left over, of
        another shape or not of floats. It names the file, the tensor, what was seen and what is expected.
    """
    folder = Path(folder)
    module, config = _described(folder)
    config = replace(config, dtype=dtype)
    tensors, shapes = Tensors(folder), shapes_of(config)
    found = match(list(tensors_of(module.entries(config), shapes)), tensors)
    arrays = {path: _zeros(shape) for path, shape in shapes.items()}
    for name, slot in found.items():
        for path, part in zip(slot.entry.paths, slot.entry.ours(tensors.read(name)), strict=True):
            arrays[path][slot.index] = part
    return config, nested({path: jax.device_put(arrays.pop(path), may_alias=True) for path in shapes})


def load_config(folder: Path | str) -> ModelConfig:
    """The configuration of a checkpoint alone, its parameters unread; raises as `load` of config.json."""
    return _described(Path(folder))[1]


def save(
    config: ModelConfig,
    params: Params,
    folder: Path | str,
    shard_bytes: int = SHARD_BYTES,
    head: Params | None = None,
) -> None:
    """Writes config.json and float32 safetensors; the folder is whole or not there.

    Scales that the architecture does not have (muP's, those of embedding and attention) are folded into the
    parameters. Of a mixture of experts the training's dispatch and z-loss are not kept.

    Args:
      params: a tree of float32 arrays, as `init` of the network makes them.
      folder: a new folder, or an empty one.
      shard_bytes: most bytes of one safetensors file.
      head: {"w": [d_model, n], "b": [n]} of `models.layers.heads`, that answers in place of the vocabulary's:
        the checkpoint is a …ForSequenceClassification (`models.hf.sequence_classification`).

    Raises:
      ValueError: no architecture says what `config` says, `params` are not its parameters, there is something
        at `folder`, or the head has no place in the architecture.
    """
    module, config, described, factors = config_to_json(config)
    arrays, shapes = flat(params), shapes_of(config)
    score = None
    if head is not None:
        described = sequence_classification.config_to_json(described, head)
        arrays, score, left_out = sequence_classification.fold_bias(arrays, head)
        described |= left_out
        score = score / np.float32(factors.get("ends/final_norm/scale", 1.0))
    for path in shapes | arrays:
        seen = arrays[path].shape if path in arrays else None
        if seen != shapes.get(path):
            raise ValueError(
                f"params: {path} has shape {seen}; the configuration asks for {shapes.get(path)}"
            )

    def make(slot: CheckpointTensor) -> np.ndarray:
        parts = [np.asarray(arrays[path])[slot.index] for path in slot.entry.paths]
        scales = [np.float32(factors.get(path, 1.0)) for path in slot.entry.paths]
        return slot.entry.theirs(
            *(part if scale == 1 else part * scale for part, scale in zip(parts, scales))
        )

    with whole_folder(Path(folder)) as temporary:
        text = json.dumps(described | {"torch_dtype": "float32"}, indent=2)
        (temporary / "config.json").write_text(text + "\n")
        wanted = tensors_of(module.entries(config), shapes)
        tensors: list[Tensor] = [(slot.name, slot.shape, partial(make, slot)) for slot in wanted]
        if score is not None:
            tensors = [tensor for tensor in tensors if tensor[0] != "lm_head.weight"]
            tensors.append(("score.weight", score.shape, partial(np.asarray, score)))
        write_tensors(temporary, tensors, shard_bytes)


def _described(folder: Path) -> tuple[ModuleType, ModelConfig]:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is no checkpoint: it has no config.json")
    described = read_json(path)
    try:
        return config_from_json(described)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def _zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Float32 zeros that begin where jax can take them over on a CPU without a copy."""
    n_bytes, align = 4 * int(np.prod(shape)), 64
    memory = np.zeros(n_bytes + align, np.uint8)
    begin = -memory.ctypes.data % align
    return memory[begin : begin + n_bytes].view(np.float32).reshape(shape)
