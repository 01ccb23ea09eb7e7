"""T5 1.0 and 1.1 (also flan-t5, mT5's shapes): T5ForConditionalGeneration."""

from typing import Any

from models.configs.encdec import EncDecConfig
from models.hf.entry import Entry, linear, same
from models.hf.fields import Fields

# What T5 calls activations; "gated-gelu" alone means the approximation by tanh.
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "silu": "silu"}
THEIR_ACTIVATIONS = {ours: theirs for theirs, ours in ACTIVATIONS.items()}


def config_from_json(fields: dict[str, Any]) -> EncDecConfig:
    """Our description of the network in a config.json.

    Raises:
      ValueError: a field that we do not support, with its value and what is allowed.
    """
    left = Fields(fields)
    left.require("is_encoder_decoder", True)
    left.require("is_decoder", False)
    projection = left.take("feed_forward_proj", "relu")
    gated, name = projection.startswith("gated-"), projection.removeprefix("gated-")
    name = "gelu_new" if projection == "gated-gelu" else name
    if name not in ACTIVATIONS:
        raise ValueError(
            f"config.json: feed_forward_proj={projection!r} is not supported; allowed: "
            f"{', '.join(ACTIVATIONS)}, each also behind 'gated-'"
        )
    left.require("dense_act_fn", name)
    left.require("is_gated_act", gated)
    # Old files say whether the head is the embedding, and a tied head's input is scaled. Newer ones call both
    # tied, keep the head of T5 1.1 in the checkpoint all the same, and say whether it is scaled.
    tied = left.require("tie_word_embeddings", True, False)
    tied = left.require("scale_decoder_outputs", *((True, False) if tied else (False,)))
    n_layers = left.take("num_layers")
    config = EncDecConfig(
        vocab_size=left.take("vocab_size"),
        d_model=left.take("d_model"),
        n_layers=n_layers,
        n_decoder_layers=left.take("num_decoder_layers", n_layers),
        n_heads=left.take("num_heads"),
        d_head=left.take("d_kv"),
        d_ff=left.take("d_ff"),
        gated=gated,
        activation=ACTIVATIONS[name],  # type: ignore[arg-type]
        tied_embeddings=tied,
        n_buckets=left.take("relative_attention_num_buckets", 32),
        max_distance=left.take("relative_attention_max_distance", 128),
        norm_eps=left.take("layer_norm_epsilon", 1e-6),
    )
    left.done("n_positions", "tokenizer_class", "output_past")
    return config


def config_to_json(config: EncDecConfig) -> dict[str, Any]:
    """The config.json of a network."""
    activation = THEIR_ACTIVATIONS.get(config.activation, "silu")
    if config.gated:
        activation = "gated-gelu" if activation == "gelu_new" else f"gated-{activation}"
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "d_model": config.d_model,
        "d_kv": config.d_head,
        "d_ff": config.d_ff,
        "num_layers": config.n_layers,
        "num_decoder_layers": config.n_decoder_layers,
        "num_heads": config.n_heads,
        "relative_attention_num_buckets": config.n_buckets,
        "relative_attention_max_distance": config.max_distance,
        "feed_forward_proj": activation,
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tied_embeddings,
        "dropout_rate": 0.0,
        "pad_token_id": 0,
        "decoder_start_token_id": 0,
    }


def entries(config: EncDecConfig) -> list[Entry]:
    """Every tensor of a checkpoint, by name."""
    v, d = (config.vocab_size,), (config.d_model,)
    table = "layer.0.SelfAttention.relative_attention_bias.weight"
    found = [
        same("shared.weight", "ends/embedding"),
        same(f"encoder.block.0.{table}", "ends/encoder_positions"),
        same(f"decoder.block.0.{table}", "ends/decoder_positions"),
        same("encoder.final_layer_norm.weight", "ends/encoder_norm/scale"),
        same("decoder.final_layer_norm.weight", "ends/decoder_norm/scale"),
    ]
    if not config.tied_embeddings:
        found.append(linear("lm_head.weight", "ends/head", d, v))
    for stack, sublayers in (("encoder", ENCODER), ("decoder", DECODER)):
        for i, (kind, branch, norm) in enumerate(sublayers):
            theirs, ours = f"{stack}.block.{{layer}}.layer.{i}", f"{stack}/{branch}"
            found.append(same(f"{theirs}.layer_norm.weight", f"{stack}/{norm}/scale"))
            make = _feed_forward if branch == "mlp" else _attention
            found += make(config, f"{theirs}.{kind}", ours)
    return found


# A block's branches in T5's order: what T5 calls it, our branch, our norm before it.
ENCODER = (("SelfAttention", "attention", "attention_norm"), ("DenseReluDense", "mlp", "mlp_norm"))
DECODER = (ENCODER[0], ("EncDecAttention", "cross", "cross_norm"), ENCODER[1])


def _attention(config: EncDecConfig, theirs: str, ours: str) -> list[Entry]:
    d, heads = (config.d_model,), (config.n_heads, config.d_head)
    into = [linear(f"{theirs}.{name}.weight", f"{ours}/w_{name}", d, heads) for name in "qkv"]
    return [*into, linear(f"{theirs}.o.weight", f"{ours}/w_o", heads, d)]


def _feed_forward(config: EncDecConfig, theirs: str, ours: str) -> list[Entry]:
    d, f = (config.d_model,), (config.d_ff,)
    into = {"wi_0": "w_gate", "wi_1": "w_up"} if config.gated else {"wi": "w_up"}
    found = [linear(f"{theirs}.{name}.weight", f"{ours}/{path}", d, f) for name, path in into.items()]
    return [*found, linear(f"{theirs}.wo.weight", f"{ours}/w_down", f, d)]
