"""Configurations by name: a ladder of sizes for each family, and published models."""

from dataclasses import replace
from typing import Any

from models.config import ModelConfig, TransformerConfig


def ladder(d_model: int, vocab_size: int, family: str = "transformer", **changes: Any) -> ModelConfig:
    """The `family`'s model of width `d_model` on the one-dial ladder of sizes; `changes` override fields.

    Raises:
      ValueError: an unknown family, or a width that the ladder does not have.
    """
    if family not in LADDERS:
        raise ValueError(f"no ladder for family {family!r}; there are {', '.join(LADDERS)}")
    return replace(LADDERS[family](d_model, vocab_size), **changes)


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
        raise ValueError(f"model: d_model={d_model}; from 256 on the ladder has multiples of {d_head}")
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


LADDERS = {"transformer": transformer}
