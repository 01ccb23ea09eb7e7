"""Configurations by name: a ladder of sizes for each family, and published models."""

import math
from dataclasses import replace
from typing import Any

from models.config import (
    EncDecConfig,
    Experts,
    ModelConfig,
    RNNConfig,
    RWKV4Config,
    RWKV7Config,
    TransformerConfig,
)


def ladder(d_model: int, vocab_size: int, family: str = "transformer", **changes: Any) -> ModelConfig:
    """The `family`'s model of width `d_model` on the one-dial ladder of sizes; `changes` override fields.

    Raises:
      ValueError: an unknown family, or a width that the ladder does not have.
    """
    if family not in LADDERS:
        raise ValueError(f"no ladder for family {family!r}; there are {', '.join(LADDERS)}")
    config = LADDERS[family](d_model, vocab_size)
    if changes.get("mup") and hasattr(config, "embedding_scale"):
        # Under muP a table does not shrink with width, so what lifts its rows is the base size's, too.
        base = LADDERS[family](changes["mup"].base_d_model, vocab_size)
        changes = {"embedding_scale": base.embedding_scale} | changes
    return replace(config, **changes)


def transformer(d_model: int, vocab_size: int) -> TransformerConfig:
    """About 32 units of width a layer and at least two layers; heads of 8, twice as large from every doubling
    of the width above 128, 64 at most; a feed-forward width of 8/3 the model's, to the next multiple of 8.
    The aspect ratio is that of small published models; many small heads learn tiny models faster than few
    large ones. The one embedding table is the head, too: at these sizes a second one costs more than it
    brings. It is a convention of this ladder, not an optimum.
    """
    if d_model < 8 or d_model % 8:
        raise ValueError(f"model: d_model={d_model}; the ladder has multiples of 8")
    d_head = min(64, max(8, 2 ** (d_model.bit_length() - 5)))
    if d_model % d_head:
        raise ValueError(
            f"model: d_model={d_model}; from {16 * d_head} on the ladder has multiples of {d_head}"
        )
    return TransformerConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=max(2, d_model // 32),
        n_heads=d_model // d_head,
        n_kv_heads=d_model // d_head,
        d_head=d_head,
        d_ff=8 * -(-d_model // 3),
        tied_embeddings=True,
        embedding_scale=d_model**0.5,
    )


def moe(d_model: int, vocab_size: int) -> TransformerConfig:
    """The transformer with 8 experts of half its feed-forward width, of which a token passes two: its active
    parameters are the transformer's, and the router's.
    """
    like = transformer(d_model, vocab_size)
    return replace(like, family="moe", experts=Experts(n_experts=8, top_k=2, d_expert=like.d_ff // 2))


def encdec(d_model: int, vocab_size: int) -> EncDecConfig:
    """The transformer's layers and heads, the layers split between encoder and decoder. A feed-forward width
    of twice the model's makes room for the attention to the source: the parameters are the transformer's.
    """
    like = transformer(d_model, vocab_size)
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


def rnn(d_model: int, vocab_size: int) -> RNNConfig:
    """As many layers of GRU in the encoder, and in the decoder, as the transformer has: the parameters are
    the transformer's, and the attention's.
    """
    return RNNConfig(vocab_size, d_model, n_layers=transformer(d_model, vocab_size).n_layers)


def rwkv4(d_model: int, vocab_size: int) -> RWKV4Config:
    """The transformer's layers, and its parameters: so the feed-forward width is 7/2 the model's."""
    n_layers = transformer(d_model, vocab_size).n_layers
    return RWKV4Config(vocab_size, d_model, n_layers, d_attention=d_model, d_ff=7 * d_model // 2)


def rwkv7(d_model: int, vocab_size: int) -> RWKV7Config:
    """The transformer's layers; heads of 64, or the largest power of two of which the width has several;
    ranks that grow as its root, as published, in steps of 8. What these leave of the transformer's parameters
    is the feed-forward layer's, whose width is at least 3/2 the model's.
    """
    n_layers = transformer(d_model, vocab_size).n_layers
    decay, value, gate = (8 * math.ceil(times * d_model**0.5 / 8) for times in (2.5, 1.7, 5.0))
    return RWKV7Config(
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=n_layers,
        d_head=min(64, d_model & -d_model, max(8, d_model // 2)),
        d_ff=max(3 * d_model // 2, 4 * d_model - 2 * decay - value - gate),
        decay_rank=decay,
        rate_rank=decay,
        value_rank=value,
        gate_rank=gate,
    )


LADDERS = {
    "transformer": transformer,
    "moe": moe,
    "encdec": encdec,
    "rnn": rnn,
    "rwkv4": rwkv4,
    "rwkv7": rwkv7,
}
