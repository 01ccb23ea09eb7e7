"""Frozen descriptions of networks; everything else about a model is derived from one of these."""

from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class TransformerConfig:
    """Decoder-only transformer: RMSNorm, rope, SwiGLU, no biases, grouped-query attention.

    `dtype` is the compute type; parameters are always float32. `remat` recomputes each block in the
    backward pass: less memory, about a third more time, the same numbers.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_ff: int
    tied_embeddings: bool = False
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False
    family: Literal["transformer"] = "transformer"

    def __post_init__(self):
        for name in ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_head", "d_ff"):
            if getattr(self, name) < 1:
                raise ValueError(f"model: {name}={getattr(self, name)}; it must be at least 1")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"model: n_heads={self.n_heads} is not a multiple of n_kv_heads={self.n_kv_heads}; "
                "query heads share key/value heads in equal groups"
            )
        if self.d_head % 2:
            raise ValueError(f"model: d_head={self.d_head}; rope rotates pairs, so it must be even")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"model: dtype={self.dtype!r}; allowed are 'float32' and 'bfloat16'")


def ladder(d_model: int, vocab_size: int, **changes: Any) -> TransformerConfig:
    """The model of width `d_model` on the one-dial ladder of sizes; `changes` override single fields.

    About 32 units of width a layer and at least two layers; heads of 8, twice as large from every doubling of
    the width above 128, 64 at most; a feed-forward width of 8/3 the model's, to the next multiple of 8. The
    aspect ratio is that of small published models; many small heads learn tiny models faster than few large
    ones. It is a convention of this ladder, not an optimum.
    """
    if d_model < 8 or d_model % 8:
        raise ValueError(f"model: d_model={d_model}; the ladder has multiples of 8")
    d_head = min(64, max(8, 2 ** (d_model.bit_length() - 5)))
    if d_model % d_head:
        raise ValueError(f"model: d_model={d_model}; from 256 on the ladder has multiples of {d_head}")
    config = TransformerConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=max(2, d_model // 32),
        n_heads=d_model // d_head,
        n_kv_heads=d_model // d_head,
        d_head=d_head,
        d_ff=8 * -(-d_model // 3),
    )
    return replace(config, **changes)
