"""Llama 1–3, Mistral, Qwen 2 and 3, OLMo 2: one decoder with small differences."""

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

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
}
# What a field that is absent stands for, where that is no null.
DEFAULTS = {
    "llama": {},
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28},
    "qwen3": {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28, "head_dim": 128},
    "olmo2": {"rms_norm_eps": 1e-5},
}


def config_from_json(fields: dict[str, Any]) -> TransformerConfig:
    """Our description of the network in a config.json.

    Raises:
      ValueError: a field that we do not support, with its value and what is allowed.
    """
    kind = fields["model_type"]
    left = Fields(DEFAULTS[kind] | fields)
    found = decoder_from_json(left)
    biases = left.require("attention_bias", False, *((True,) if kind in ("llama", "qwen3", "olmo2") else ()))
    if kind == "mistral":
        found["windows"] = (left.take("sliding_window", 0),)
    if kind in ("qwen2", "qwen3"):
        found["windows"] = _windows(left, found["n_layers"])
    config = TransformerConfig(
        **found,
        norm_position="post" if kind == "olmo2" else "pre",
        qk_norm={"qwen3": "head", "olmo2": "width"}.get(kind, "none"),  # type: ignore[arg-type]
        qkv_bias=biases or kind == "qwen2",
        output_bias=biases,
        mlp_bias=left.require("mlp_bias", False, *((True,) if kind == "llama" else ())),
        activation=left.translate("hidden_act", ACTIVATIONS, "silu"),
    )
    left.require("pretraining_tp", 1)
    left.done()
    return config


def config_to_json(config: TransformerConfig) -> dict[str, Any]:
    """The config.json of the architecture that is nearest to the network."""
    kind = _kind(config)
    fields = decoder_to_json(config) | {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "hidden_act": THEIR_ACTIVATIONS[config.activation],
    }
    if kind in ("llama", "qwen3", "olmo2"):
        fields["attention_bias"] = config.output_bias
    if kind == "llama":
        fields["mlp_bias"] = config.mlp_bias
    if kind == "mistral":
        fields["sliding_window"] = config.windows[0] or None
    if kind in ("qwen2", "qwen3"):
        types = layer_types(config)
        slides = "sliding_attention" in types
        fields |= {"use_sliding_window": slides, "sliding_window": max(config.windows) or None}
        fields["max_window_layers"] = types.index("sliding_attention") if slides else config.n_layers
        fields |= {"layer_types": types} if slides else {}
    return fields


def entries(config: TransformerConfig) -> list[Entry]:
    """Every tensor of a checkpoint, by name."""
    return decoder_entries(config) + mlp_entries(config)


def _kind(config: TransformerConfig) -> str:
    if config.norm_position == "post":
        return "olmo2"
    if config.qk_norm == "head":
        return "qwen3"
    if config.qkv_bias and not config.output_bias:
        return "qwen2"
    # transformers takes a Llama only if its width is a multiple of its heads.
    return "mistral" if any(config.windows) or config.d_model % config.n_heads else "llama"


def _windows(fields: Fields, n_layers: int) -> tuple[int, ...]:
    """Qwen's windows: off unless `use_sliding_window`, then from layer `max_window_layers` on or by kind."""
    used = fields.require("use_sliding_window", False, True)
    window, first = fields.take("sliding_window", 0), fields.take("max_window_layers", n_layers)
    window = window if used else 0
    types = ["sliding_attention" if window and i >= first else "full_attention" for i in range(n_layers)]
    return windows_from_json(fields, window, types)
