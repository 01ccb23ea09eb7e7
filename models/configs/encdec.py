"""Encoder–decoder transformer (T5, Raffel et al. 2020): the decoder also attends to the encoded source.

The configuration, exact counts, and the ladder of sizes.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from models.configs import transformer
from models.configs.counting import Counts, Part, attention_part, itemsize, mlp_part
from models.configs.layers import Activation
from models.configs.model_config import Dtype, check_dtype, check_positive, check_sizes
from models.configs.transformer import TransformerConfig


@dataclass(frozen=True)
class EncDecConfig:
    """Encoder–decoder transformer (T5): RMSNorm, relative position bias, no attention scale, no biases.

    T5 1.0 has relu, no gate and tied embeddings, whose logits are scaled by d_model^-0.5; 1.1 has gelu_tanh,
    a gate and a head of its own, unscaled.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_decoder_layers: int
    n_heads: int
    d_head: int
    d_ff: int
    gated: bool = True
    activation: Activation = "gelu_tanh"
    tied_embeddings: bool = False
    n_buckets: int = 32
    max_distance: int = 128
    norm_eps: float = 1e-6
    dtype: Dtype = "float32"
    remat: bool = False
    family: Literal["encdec"] = "encdec"

    def __post_init__(self):
        sizes = ("vocab_size", "d_model", "n_layers", "n_decoder_layers", "n_heads", "d_head", "d_ff")
        check_sizes("model", self, *sizes)
        check_positive("model", self, "norm_eps")
        if self.n_buckets < 4 or self.n_buckets % 2 or self.max_distance <= self.n_buckets:
            raise ValueError(
                f"model: n_buckets={self.n_buckets}, max_distance={self.max_distance}; "
                "buckets are even, at least 4 and fewer than the largest distance told apart"
            )
        check_dtype(self.dtype)


Config = EncDecConfig


def stack_config(config: EncDecConfig, n_layers: int) -> TransformerConfig:
    """The shapes of one stack's blocks, as those of a transformer."""
    return TransformerConfig(
        vocab_size=config.vocab_size,
        d_model=config.d_model,
        n_layers=n_layers,
        n_heads=config.n_heads,
        n_kv_heads=config.n_heads,
        d_head=config.d_head,
        d_ff=config.d_ff,
        norm_eps=config.norm_eps,
        gated=config.gated,
        activation=config.activation,
        positions="none",
    )


def count(config: EncDecConfig) -> Counts:
    """Parameters and FLOPs by component.

    FLOPs are those of language modelling (`experiments.training.loss`): of a row of T tokens the first T/2
    are the source and the rest the target, and the row's FLOPs are spread over all T. So half of the tokens
    pass the encoder, half the decoder and the head, and each attention meets T/2 keys. Every parameter counts
    as active. The cache is that of a source as long as the target, with a byte a source token for its mask.
    """
    d, v, stack = config.d_model, config.vocab_size, stack_config(config, config.n_layers)
    encoder_layers, decoder_layers = config.n_layers, config.n_decoder_layers
    layers = encoder_layers + decoder_layers
    table, head = v * d, 0 if config.tied_embeddings else v * d
    distances = 2 * config.n_buckets * config.n_heads
    parts = {
        "embedding": Part(table, looked_up=0 if config.tied_embeddings else table),
        "positions": Part(distances, looked_up=distances),
        "attention": _over_half(attention_part(stack)) * layers,
        "cross": _over_half(attention_part(stack)) * decoder_layers,
        "mlp": _over_half(mlp_part(stack)) * layers,
        "norms": Part((2 * encoder_layers + 3 * decoder_layers + 2) * d),
        "head": _over_half(Part(head, flops=2 * v * d)),
    }
    slot = 2 * config.n_heads * config.d_head * itemsize(config)
    cache = ((slot, 0),) * 2 * decoder_layers + ((1, 0),)
    last = _over_half(Part(0, flops=-2 * d * config.d_ff)) * layers
    return Counts(parts, cache, again=parts["attention"] + parts["cross"] + parts["mlp"] + last)


def _over_half(part: Part) -> Part:
    """The part's FLOPs a token of the row, where half of the tokens pass it and meet half of the row."""
    return dataclasses.replace(part, flops=part.flops // 2, context_flops=part.context_flops // 4)


def ladder(d_model: int, vocab_size: int) -> EncDecConfig:
    """The transformer's layers and heads, the layers split between encoder and decoder. A feed-forward width
    of twice the model's makes room for the attention to the source: the parameters are the transformer's.
    """
    like = transformer.ladder(d_model, vocab_size)
    return EncDecConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=like.n_layers - like.n_layers // 2,
        n_decoder_layers=like.n_layers // 2,
        n_heads=like.n_heads,
        d_head=like.d_head,
        d_ff=2 * d_model,
        tied_embeddings=True,
    )
