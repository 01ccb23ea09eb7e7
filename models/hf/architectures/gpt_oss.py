"""gpt-oss: experts with biases and clamped gates, sinks in attention, windows in every second layer."""

from typing import Any

import numpy as np

from models.configs.layers import Experts
from models.configs.transformer import TransformerConfig
from models.hf.architectures.decoder import (
    LAYER,
    decoder_entries,
    decoder_from_json,
    decoder_to_json,
    layer_types,
    windows_from_json,
)
from models.hf.entry import Entry, linear, same
from models.hf.fields import Fields

# What a field that is absent stands for, where that is no null.
DEFAULTS = {"num_key_value_heads": 8, "head_dim": 64, "rms_norm_eps": 1e-5, "sliding_window": 128}
YARN = {"rope_type": "yarn", "factor": 32.0, "truncate": False, "original_max_position_embeddings": 4096}


def config_from_json(fields: dict[str, Any]) -> TransformerConfig:
    """Our description of the network in a config.json. No token is ever dropped, as in transformers.

    Raises:
      ValueError: a field that we do not support, with its value and what is allowed.
    """
    stretched = fields.get("rope_parameters") or fields.get("rope_scaling")
    left = Fields(DEFAULTS | fields | ({} if stretched else {"rope_scaling": YARN}))
    found = decoder_from_json(left, theta=150_000.0)
    n_layers, window = found["n_layers"], left.take("sliding_window", 0)
    alternating = ["full_attention" if i % 2 or not window else "sliding_attention" for i in range(n_layers)]
    biases, top_k = left.require("attention_bias", True, False), left.take("num_experts_per_tok", 4)
    left.require("experts_per_token", top_k)
    experts = Experts(
        n_experts=left.take("num_experts", 0) or left.take("num_local_experts", 128),
        top_k=top_k,
        d_expert=found["d_ff"],
        dispatch="dropless",
        balance_loss=left.take("router_aux_loss_coef", 0.0),
        z_loss=0.0,
        biases=True,
    )
    config = TransformerConfig(
        **found,
        windows=windows_from_json(left, window, alternating),
        qkv_bias=biases,
        output_bias=biases,
        sinks=True,
        activation="clamped_swiglu",
        experts=experts,
        family="moe",
    )
    left.require("hidden_act", "silu")
    left.require("swiglu_alpha", 1.702)
    left.require("swiglu_limit", 7.0)
    left.done("output_router_logits", "initial_context_length")  # the latter is rope's, too
    return config


def config_to_json(config: TransformerConfig) -> dict[str, Any]:
    """The config.json of a network."""
    experts = config.experts
    assert experts is not None
    return decoder_to_json(config) | {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "hidden_act": "silu",
        "attention_bias": config.output_bias,
        "num_local_experts": experts.n_experts,
        "num_experts_per_tok": experts.top_k,
        "intermediate_size": experts.d_expert,
        "router_aux_loss_coef": experts.balance_loss,
        "sliding_window": max(config.windows) or None,
        "layer_types": layer_types(config),
    }


def entries(config: TransformerConfig) -> list[Entry]:
    """Every tensor of a checkpoint, by name."""
    experts = config.experts
    assert experts is not None
    theirs, ours = f"{LAYER}.mlp.experts", "blocks/mlp"
    return [
        *decoder_entries(config),
        same(f"{LAYER}.self_attn.sinks", "blocks/attention/sinks"),
        linear(f"{LAYER}.mlp.router.weight", f"{ours}/router", (config.d_model,), (experts.n_experts,)),
        same(f"{LAYER}.mlp.router.bias", f"{ours}/b_router"),
        _woven(f"{theirs}.gate_up_proj", f"{ours}/w_gate", f"{ours}/w_up"),
        _woven(f"{theirs}.gate_up_proj_bias", f"{ours}/b_gate", f"{ours}/b_up"),
        same(f"{theirs}.down_proj", f"{ours}/w_down"),
        same(f"{theirs}.down_proj_bias", f"{ours}/b_down"),
    ]


def _woven(name: str, gate: str, up: str) -> Entry:
    """All experts' gate and up, which they keep in turn along the last axis."""

    def theirs(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
        return np.stack([gate, up], axis=-1).reshape(*gate.shape[:-1], -1)

    return Entry(name, (gate, up), lambda both: (both[..., ::2], both[..., 1::2]), theirs)
