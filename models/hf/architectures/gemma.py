"""Gemma 2 and 3: norms around the branches, whose scales are stored less one, and windows in most layers.

Gemma 2 has softcaps; Gemma 3, of which text alone is read, norms of queries and keys, and two ropes.
"""

from typing import Any

from models.configs.transformer import TransformerConfig
from models.hf.architectures.decoder import (
    ACTIVATIONS,
    THEIR_ACTIVATIONS,
    decoder_entries,
    decoder_from_json,
    decoder_to_json,
    layer_types,
    mlp_entries,
    windows_from_json,
)
from models.hf.entry import Entry
from models.hf.fields import Fields
from models.parametrization import attention_scale

ARCHITECTURES = {"gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM"}
# What a field that is absent stands for, where that is no null.
SHARED = {
    "num_key_value_heads": 4,
    "head_dim": 256,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}
DEFAULTS = {
    "gemma2": SHARED | {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "gemma3_text": SHARED | {"sliding_window_pattern": 6, "rope_local_base_freq": 1e4},
}


def config_from_json(fields: dict[str, Any]) -> TransformerConfig:
    """Our description of the network in a config.json.

    Raises:
      ValueError: a field that we do not support, with its value and what is allowed.
    """
    kind = fields["model_type"]
    left = Fields(DEFAULTS[kind] | (fields if kind == "gemma2" else _one_rope(fields)))
    found = decoder_from_json(left, theta=1e4 if kind == "gemma2" else 1e6)
    n_layers, window = found["n_layers"], left.take("sliding_window", 0)
    period = 2 if kind == "gemma2" else left.take("sliding_window_pattern")
    types = [
        "sliding_attention" if window and (i + 1) % period else "full_attention" for i in range(n_layers)
    ]
    windows = windows_from_json(left, window, types)
    if kind == "gemma3_text":
        local, one = float(left.take("rope_local_base_freq")), not found["rope_scaling"]
        needed = any(windows) and not (one and local == found["rope_theta"])
        found |= {"qk_norm": "head", "local_rope_theta": local if needed else 0.0}
    biases = left.require("attention_bias", False, True)
    config = TransformerConfig(
        **found,
        embedding_scale=found["d_model"] ** 0.5,
        norm_position="both",
        windows=windows,
        attention_scale=left.take("query_pre_attn_scalar") ** -0.5,
        attention_softcap=left.take("attn_logit_softcapping", 0.0),
        logit_softcap=left.take("final_logit_softcapping", 0.0),
        qkv_bias=biases,
        output_bias=biases,
        activation=left.translate("hidden_activation", ACTIVATIONS, "gelu_pytorch_tanh"),
    )
    left.require("use_bidirectional_attention", False)
    # Of the activation hidden_activation counts, and of windows sliding_window_pattern.
    left.done("cache_implementation", "hidden_act", "_sliding_window_pattern")
    return config


def config_to_json(config: TransformerConfig) -> dict[str, Any]:
    """The config.json of a network."""
    scalar = attention_scale(config) ** -2
    kind = "gemma3_text" if config.qk_norm == "head" else "gemma2"
    ropes = {"rope_local_base_freq": config.local_rope_theta or config.rope_theta}
    return decoder_to_json(config) | {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        **(ropes if kind == "gemma3_text" else {}),
        "hidden_activation": THEIR_ACTIVATIONS[config.activation],
        "attention_bias": config.output_bias,
        "query_pre_attn_scalar": round(scalar),  # transformers takes whole numbers
        "sliding_window": max(config.windows) or None,
        "layer_types": layer_types(config),
        "attn_logit_softcapping": config.attention_softcap or None,
        "final_logit_softcapping": config.logit_softcap or None,
    }


def entries(config: TransformerConfig) -> list[Entry]:
    """Every tensor of a checkpoint, by name."""
    return decoder_entries(config, scale=_less_one) + mlp_entries(config)


def _less_one(name: str, path: str) -> Entry:
    return Entry(name, (path,), lambda theirs: (theirs + 1,), lambda ours: ours - 1)


def _one_rope(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with the ropes of both kinds of layers as version 4 of transformers spells them.

    Raises:
      ValueError: the rope of layers with windows is stretched.
    """
    ropes = fields.get("rope_parameters") or {}
    if not isinstance(ropes, dict) or not isinstance(local := ropes.get("sliding_attention"), dict):
        return fields
    left = Fields(local, where="config.json: rope parameters of sliding_attention")
    left.require("rope_type", "default")
    theta = left.take("rope_theta", DEFAULTS["gemma3_text"]["rope_local_base_freq"])
    left.done()
    return fields | {"rope_parameters": ropes.get("full_attention"), "rope_local_base_freq": theta}
