"""What Llama and the decoders that came of it have in common: most fields and most names of tensors."""

from collections.abc import Callable
from typing import Any, TypeVar

from models.configs.transformer import TransformerConfig
from models.hf.architectures.rope import rope_from_json, rope_to_json
from models.hf.entry import Entry, linear, reshaped, same
from models.hf.fields import Fields

T = TypeVar("T")
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
THEIR_ACTIVATIONS = {"clamped_swiglu": "silu"} | {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "relu": "relu",
}
LAYER = "model.layers.{layer}"
# By `norm_position`: what the norms of a block are called, theirs and ours.
NORMS = {
    "pre": {"input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm"},
    "post": {
        "post_attention_layernorm": "attention_out_norm",
        "post_feedforward_layernorm": "mlp_out_norm",
    },
    "both": {
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "attention_out_norm",
        "pre_feedforward_layernorm": "mlp_norm",
        "post_feedforward_layernorm": "mlp_out_norm",
    },
}


def decoder_from_json(fields: Fields, theta: float = 10_000.0) -> dict[str, Any]:
    """The fields of a `TransformerConfig` that are alike everywhere; `theta` is rope's default."""
    d_model, n_heads = fields.take("hidden_size"), fields.take("num_attention_heads")
    max_len = fields.take("max_position_embeddings", 0)
    rope_theta, rope_scaling = rope_from_json(fields, max_len, theta)
    return {
        "vocab_size": fields.take("vocab_size"),
        "d_model": d_model,
        "n_layers": fields.layers("num_hidden_layers"),
        "n_heads": n_heads,
        "n_kv_heads": fields.take("num_key_value_heads", n_heads),
        "d_head": fields.take("head_dim", d_model // n_heads),
        "d_ff": fields.take("intermediate_size"),
        "tied_embeddings": fields.require("tie_word_embeddings", False, True),
        "max_len": max_len,
        "rope_theta": rope_theta,
        "rope_scaling": rope_scaling,
        "norm_eps": fields.take("rms_norm_eps", 1e-6),
    }


def decoder_to_json(config: TransformerConfig) -> dict[str, Any]:
    """The fields that `decoder_from_json` reads."""
    length = {"max_position_embeddings": config.max_len} if config.max_len else {}
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.d_head,
        "intermediate_size": config.d_ff,
        "tie_word_embeddings": config.tied_embeddings,
        "rms_norm_eps": config.norm_eps,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        **length,
        **rope_to_json(config.rope_theta, config.rope_scaling),
    }


def windows_from_json(fields: Fields, window: int, default: list[str]) -> tuple[int, ...]:
    """Windows of the layers by `layer_types`, else `default`, as their shortest repeating part."""
    types = fields.take("layer_types", default)
    widths = {"full_attention": 0} | ({"sliding_attention": window} if window else {})
    unknown = [kind for kind in types if kind not in widths]
    if unknown or len(types) != len(default):
        raise ValueError(
            f"config.json: layer_types={types!r} is not supported; allowed are {len(default)} of "
            f"{', '.join(map(repr, widths))} (with sliding_window={window})"
        )
    return repeating([widths[kind] for kind in types])


def repeating(layers: list[T]) -> tuple[T, ...]:
    """The shortest beginning of what layers have that gives them all when it is repeated."""
    length = next(
        n for n in range(1, len(layers) + 1) if all(each == layers[i % n] for i, each in enumerate(layers))
    )
    return tuple(layers[:length])


def layer_types(config: TransformerConfig) -> list[str]:
    """The kind of attention of every layer."""
    return ["sliding_attention" if kind.window else "full_attention" for kind in config.kinds()]


def decoder_entries(config: TransformerConfig, scale: Callable[[str, str], Entry] = same) -> list[Entry]:
    """Every tensor but those of the feed-forward layers; `scale` makes the entry of a norm's scale."""
    d = (config.d_model,)
    norms = {f"{LAYER}.{theirs}": f"blocks/{ours}" for theirs, ours in NORMS[config.norm_position].items()}
    norms["model.norm"] = "ends/final_norm"
    found = [same("model.embed_tokens.weight", "ends/embedding")]
    found += [scale(f"{theirs}.weight", f"{ours}/scale") for theirs, ours in norms.items()]
    if not config.tied_embeddings:
        found.append(linear("lm_head.weight", "ends/head", d, (config.vocab_size,)))
    return found + _attention(config, scale)


def _attention(config: TransformerConfig, scale: Callable[[str, str], Entry]) -> list[Entry]:
    theirs, ours, d = f"{LAYER}.self_attn", "blocks/attention", (config.d_model,)
    heads, kv_heads = (config.n_heads, config.d_head), (config.n_kv_heads, config.d_head)
    found = [linear(f"{theirs}.o_proj.weight", f"{ours}/w_o", heads, d)]
    for letter, shape in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
        width = (shape[0] * shape[1],)
        found.append(linear(f"{theirs}.{letter}_proj.weight", f"{ours}/w_{letter}", d, shape))
        if config.qkv_bias:
            found.append(reshaped(f"{theirs}.{letter}_proj.bias", f"{ours}/b_{letter}", width, shape))
        if config.qk_norm != "none" and letter != "v":
            name, path = f"{theirs}.{letter}_norm.weight", f"{ours}/{letter}_norm/scale"
            found.append(
                scale(name, path) if config.qk_norm == "head" else reshaped(name, path, width, shape)
            )
    if config.output_bias:
        found.append(same(f"{theirs}.o_proj.bias", f"{ours}/b_o"))
    return found


def mlp_entries(config: TransformerConfig) -> list[Entry]:
    """The tensors of dense gated feed-forward layers."""
    d, f = (config.d_model,), (config.d_ff,)
    found = []
    for name, inputs, outputs in (("gate", d, f), ("up", d, f), ("down", f, d)):
        theirs = f"{LAYER}.mlp.{name}_proj"
        found.append(linear(f"{theirs}.weight", f"blocks/mlp/w_{name}", inputs, outputs))
        if config.mlp_bias:
            found.append(same(f"{theirs}.bias", f"blocks/mlp/b_{name}"))
    return found
