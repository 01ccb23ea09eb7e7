"""Phi-3 and Phi-4: a Llama whose queries, keys and values are one matrix, and gate and up another.

They are read alone: what is written is the same function as a Llama, or a Mistral if it has a window.
"""

from typing import Any

import numpy as np

from models.families.transformer_config import TransformerConfig
from models.hf.architectures.decoder import (
    ACTIVATIONS,
    LAYER,
    decoder_entries,
    decoder_from_json,
)
from models.hf.entry import Entry, linear
from models.hf.fields import Fields

DEFAULTS = {"rms_norm_eps": 1e-5}


def config_from_json(fields: dict[str, Any]) -> TransformerConfig:
    """Our description of the network in a config.json.

    Raises:
      ValueError: a field that we do not support, such as rope stretched by long and short factors
        ("longrope", of the variants for 128k tokens), with its value and what is allowed.
    """
    left = Fields(DEFAULTS | fields)
    found = decoder_from_json(left)
    config = TransformerConfig(
        **found,
        windows=(left.take("sliding_window", 0),),
        activation=left.translate("hidden_act", ACTIVATIONS, "silu"),
    )
    for name in ("attention_bias", "mlp_bias", "lm_head_bias"):
        left.require(name, False)
    left.done()
    return config


def entries(config: TransformerConfig) -> list[Entry]:
    """Every tensor of a checkpoint, by name."""
    d, f, k = (config.d_model,), (config.d_ff,), config.d_head
    heads, kv_heads = (config.n_heads, k), (config.n_kv_heads, k)
    apart = tuple(f"{LAYER}.self_attn.{letter}_proj.weight" for letter in "qkv")
    return [
        *(entry for entry in decoder_entries(config) if entry.name not in apart),
        _fused("self_attn.qkv_proj", "attention", {"q": heads, "k": kv_heads, "v": kv_heads}, config),
        _fused("mlp.gate_up_proj", "mlp", {"gate": f, "up": f}, config),
        linear(f"{LAYER}.mlp.down_proj.weight", "blocks/mlp/w_down", f, d),
    ]


def _fused(theirs: str, ours: str, parts: dict[str, tuple[int, ...]], config: TransformerConfig) -> Entry:
    """Matrices from the model's width, of which they keep the outputs one below the other."""
    widths = [int(np.prod(shape)) for shape in parts.values()]
    ends = np.cumsum(widths)[:-1]
    return Entry(
        f"{LAYER}.{theirs}.weight",
        tuple(f"blocks/{ours}/w_{name}" for name in parts),
        lambda whole: tuple(
            part.T.reshape(config.d_model, *shape)
            for part, shape in zip(np.split(whole, ends), parts.values(), strict=True)
        ),
        lambda *each: np.concatenate([part.reshape(config.d_model, -1).T for part in each]),
    )
