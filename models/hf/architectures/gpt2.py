"""GPT-2: LayerNorm, learned positions, matrices stored as [in, out], queries, keys and values in one."""

from typing import Any

import numpy as np

from models.configs.transformer import TransformerConfig
from models.hf.architectures.decoder import ACTIVATIONS
from models.hf.entry import Entry, linear, reshaped, same
from models.hf.fields import Fields

THEIR_ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "silu": "silu"}
BLOCK = "transformer.h.{layer}"


def config_from_json(fields: dict[str, Any]) -> TransformerConfig:
    """Our description of the network in a config.json.

    Raises:
      ValueError: a field that we do not support, with its value and what is allowed.
    """
    left = Fields(fields)
    d_model, n_heads = left.take("n_embd"), left.take("n_head")
    if d_model % n_heads:
        raise ValueError(f"config.json: n_embd={d_model} is not a multiple of n_head={n_heads}")
    config = TransformerConfig(
        vocab_size=left.take("vocab_size"),
        d_model=d_model,
        n_layers=left.take("n_layer"),
        n_heads=n_heads,
        n_kv_heads=n_heads,
        d_head=d_model // n_heads,
        d_ff=left.take("n_inner", 4 * d_model),
        tied_embeddings=left.require("tie_word_embeddings", True, False),
        positions="learned",
        max_len=left.take("n_positions"),
        norm="layer",
        norm_eps=left.take("layer_norm_epsilon", 1e-5),
        attention_scale=0.0 if left.require("scale_attn_weights", True, False) else 1.0,
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        gated=False,
        activation=left.translate("activation_function", ACTIVATIONS, "gelu_new"),
    )
    left.require("scale_attn_by_inverse_layer_idx", False)
    left.require("add_cross_attention", False)
    summaries = ("type", "use_proj", "activation", "proj_to_labels", "first_dropout")  # another head's
    left.done("n_ctx", "reorder_and_upcast_attn", *(f"summary_{name}" for name in summaries))
    return config


def config_to_json(config: TransformerConfig) -> dict[str, Any]:
    """The config.json of a network."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "n_positions": config.max_len,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": THEIR_ACTIVATIONS.get(config.activation, "silu"),
        "scale_attn_weights": config.attention_scale != 1,
        "tie_word_embeddings": config.tied_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def entries(config: TransformerConfig) -> list[Entry]:
    """Every tensor of a checkpoint, by name."""
    d, heads = config.d_model, (config.n_heads, config.d_head)
    found = [
        same("transformer.wte.weight", "ends/embedding"),
        same("transformer.wpe.weight", "ends/position"),
        _fused(f"{BLOCK}.attn.c_attn.weight", "w", (d, *heads)),
        _fused(f"{BLOCK}.attn.c_attn.bias", "b", heads),
        reshaped(f"{BLOCK}.attn.c_proj.weight", "blocks/attention/w_o", (d, d), (*heads, d)),
        same(f"{BLOCK}.attn.c_proj.bias", "blocks/attention/b_o"),
        same(f"{BLOCK}.mlp.c_fc.weight", "blocks/mlp/w_up"),
        same(f"{BLOCK}.mlp.c_fc.bias", "blocks/mlp/b_up"),
        same(f"{BLOCK}.mlp.c_proj.weight", "blocks/mlp/w_down"),
        same(f"{BLOCK}.mlp.c_proj.bias", "blocks/mlp/b_down"),
    ]
    norms = {f"{BLOCK}.ln_1": "blocks/attention_norm", f"{BLOCK}.ln_2": "blocks/mlp_norm"}
    for theirs, ours in (norms | {"transformer.ln_f": "ends/final_norm"}).items():
        found += [same(f"{theirs}.weight", f"{ours}/scale"), same(f"{theirs}.bias", f"{ours}/bias")]
    if not config.tied_embeddings:
        found.append(linear("lm_head.weight", "ends/head", (d,), (config.vocab_size,)))
    return found


def _fused(name: str, letter: str, shape: tuple[int, ...]) -> Entry:
    """Queries, keys and values, each of `shape` here, side by side along the last axis there."""
    inputs = shape[:-2]
    return Entry(
        name,
        tuple(f"blocks/attention/{letter}_{part}" for part in "qkv"),
        lambda theirs: tuple(part.reshape(shape) for part in np.split(theirs, 3, axis=-1)),
        lambda *ours: np.concatenate([part.reshape(*inputs, -1) for part in ours], axis=-1),
    )
