"""Phi-3 and Phi-4: a Llama whose queries, keys and values are one matrix, and gate and up another.

They are read alone: what is written is the same function as a Llama, or a Mistral if it has a window; a
longrope is not written.
"""

from typing import Any

import numpy as np

from models.configs.layers import RopeScaling
from models.configs.transformer import TransformerConfig
from models.hf.architectures.decoder import (
    ACTIVATIONS,
    LAYER,
    decoder_entries,
    decoder_from_json,
)
from models.hf.entry import Entry, linear
from models.hf.fields import Fields

DEFAULTS = {"rms_norm_eps": 1e-5, "original_max_position_embeddings": 4096}


def config_from_json(fields: dict[str, Any]) -> TransformerConfig:
    """Our description of the network in a config.json.

    A longrope has factors for texts up to the length trained on and others for longer ones, to which
    transformers changes with the text. Here the former hold always, and that length is the network's.

    Raises:
      ValueError: a field that we do not support, with its value and what is allowed.
    """
    left = Fields(DEFAULTS | fields)
    rope = Fields(left.take("rope_parameters", left.take("rope_scaling", {})), "config.json: rope parameters")
    fraction = left.take("partial_rotary_factor", rope.take("partial_rotary_factor", 1.0))
    kind, theta = rope.take("rope_type", rope.take("type", "default")), rope.take("rope_theta", 1e4)
    original_len = rope.take(
        "original_max_position_embeddings", left.take("original_max_position_embeddings")
    )
    found = decoder_from_json(left, theta=theta)
    width = int(found["d_head"] * fraction)
    found["rope_width"] = width if width != found["d_head"] else 0
    if kind in ("longrope", "su", "yarn"):  # names of different times
        factor = float(rope.take("factor", max(1.0, found["max_len"] / original_len)))
        attention_factor = float(rope.take("attention_factor", 0.0))
        factors = tuple(map(float, rope.take("short_factor")))
        found["rope_scaling"] = RopeScaling(
            "longrope", factor, original_len, attention_factor=attention_factor, factors=factors
        )
        found["max_len"] = original_len
    elif kind != "default":
        raise ValueError(f"config.json: rope_type={kind!r} is not supported; allowed: 'default', 'longrope'")
    rope.done("long_factor", "type")
    config = TransformerConfig(
        **found,
        windows=(left.take("sliding_window", 0),),
        activation=left.translate("hidden_act", ACTIVATIONS, "silu"),
    )
    for name in ("attention_bias", "mlp_bias", "lm_head_bias"):
        left.require(name, False)
    for name in ("interpolate_factor", "full_attn_mod"):
        left.require(name, 1)
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
