"""Llama 1–3, Mistral, Qwen 2 and 3, OLMo 2, SmolLM3: one decoder with small differences."""

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
    repeating,
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
    "smollm3": "SmolLM3ForCausalLM",
}
WITH_BIASES = ("llama", "qwen3", "olmo2", "smollm3")  # of attention, if they say so
# What a field that is absent stands for, where that is no null.
DEFAULTS = {
    "llama": {},
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28},
    "qwen3": {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28, "head_dim": 128},
    "olmo2": {"rms_norm_eps": 1e-5},
    "smollm3": {"num_key_value_heads": 4, "tie_word_embeddings": True, "no_rope_layer_interval": 4},
}


def config_from_json(fields: dict[str, Any]) -> TransformerConfig:
    """Our description of the network in a config.json.

    Raises:
      ValueError: a field that we do not support, with its value and what is allowed.
    """
    kind = fields["model_type"]
    left = Fields(DEFAULTS[kind] | fields)
    found = decoder_from_json(left, theta=2e6 if kind == "smollm3" else 1e4)
    biases = left.require("attention_bias", False, *((True,) if kind in WITH_BIASES else ()))
    if kind == "mistral":
        found["windows"] = (left.take("sliding_window", 0),)
    if kind in ("qwen2", "qwen3"):
        found["windows"] = _windows(left, found["n_layers"])
    if kind == "smollm3":
        found |= _ropes_and_windows(left, found["n_layers"])
    config = TransformerConfig(
        **found,
        norm_position="post" if kind == "olmo2" else "pre",
        qk_norm={"qwen3": "head", "olmo2": "width"}.get(kind, "none"),  # type: ignore[arg-type]
        qkv_bias=biases or kind == "qwen2",
        output_bias=biases,
        mlp_bias=left.require("mlp_bias", False, *((True,) if kind in ("llama", "smollm3") else ())),
        activation=left.translate("hidden_act", ACTIVATIONS, "silu"),
    )
    if kind != "smollm3":  # whose published files have other values, which nothing reads
        left.require("pretraining_tp", 1)
    left.done(*(("pretraining_tp", "max_window_layers") if kind == "smollm3" else ()))
    return config


def config_to_json(config: TransformerConfig) -> dict[str, Any]:
    """The config.json of the architecture that is nearest to the network."""
    kind = _kind(config)
    fields = decoder_to_json(config) | {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "hidden_act": THEIR_ACTIVATIONS[config.activation],
    }
    if kind in WITH_BIASES:
        fields["attention_bias"] = config.output_bias
    if kind in ("llama", "smollm3"):
        fields["mlp_bias"] = config.mlp_bias
    if kind == "smollm3":
        fields["no_rope_layers"] = [int(kind.rope is not None) for kind in config.kinds()]
        fields |= {"use_sliding_window": any(config.windows), "sliding_window": max(config.windows) or None}
        fields["layer_types"] = layer_types(config)
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
    if not all(config.rope_layers):
        return "smollm3"
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


def _ropes_and_windows(fields: Fields, n_layers: int) -> dict[str, Any]:
    """SmolLM3's layers without rope, which are those with windows where `use_sliding_window`."""
    interval = fields.take("no_rope_layer_interval")
    rotated = fields.take("no_rope_layers", [(i + 1) % interval for i in range(n_layers)])
    if len(rotated) < n_layers:
        raise ValueError(f"config.json: no_rope_layers={rotated}; expected one for each of {n_layers} layers")
    used, window = fields.require("use_sliding_window", False, True), fields.take("sliding_window", 0)
    window = window if used else 0
    types = ["sliding_attention" if window and not each else "full_attention" for each in rotated[:n_layers]]
    return {
        "rope_layers": repeating([bool(each) for each in rotated[:n_layers]]),
        "windows": windows_from_json(fields, window, types),
    }
