"""Gemma 2: norms around the branches, whose scales are stored less one, softcaps and alternating windows."""

from typing import Any

from models.families.transformer import TransformerConfig
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

DEFAULTS = {
    "num_key_value_heads": 4,
    "head_dim": 256,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}


def config_from_json(fields: dict[str, Any]) -> TransformerConfig:
    """Our description of the network in a config.json.

    Raises:
      ValueError: a field that we do not support, with its value and what is allowed.
    """
    left = Fields(DEFAULTS | fields)
    found = decoder_from_json(left)
    n_layers, window = found["n_layers"], left.take("sliding_window", 0)
    alternating = ["full_attention" if i % 2 or not window else "sliding_attention" for i in range(n_layers)]
    biases = left.require("attention_bias", False, True)
    config = TransformerConfig(
        **found,
        embedding_scale=found["d_model"] ** 0.5,
        norm_position="both",
        windows=windows_from_json(left, window, alternating),
        attention_scale=left.take("query_pre_attn_scalar") ** -0.5,
        attention_softcap=left.take("attn_logit_softcapping", 0.0),
        logit_softcap=left.take("final_logit_softcapping", 0.0),
        qkv_bias=biases,
        output_bias=biases,
        activation=left.translate("hidden_activation", ACTIVATIONS, "gelu_pytorch_tanh"),
    )
    left.require("use_bidirectional_attention", False)
    left.done("cache_implementation", "hidden_act")  # hidden_activation is the one that counts
    return config


def config_to_json(config: TransformerConfig) -> dict[str, Any]:
    """The config.json of a network."""
    scalar = attention_scale(config) ** -2
    return decoder_to_json(config) | {
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
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
