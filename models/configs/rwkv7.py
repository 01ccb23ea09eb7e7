"""RWKV-7: a matrix a head that a generalised delta rule edits, by chunk or by token (Peng et al. 2025).

The configuration, exact counts, and the ladder of sizes.
"""

import math
from dataclasses import dataclass
from typing import Literal

from models.configs import transformer
from models.configs.counting import Counts, Part, itemsize
from models.configs.model_config import Dtype, MuP, check_dtype, check_positive, check_sizes


@dataclass(frozen=True)
class RWKV7Config:
    """RWKV-7: a matrix state with a generalised delta rule (Peng et al. 2025). Ranks are those of the
    low-rank maps for decay, in-context rate, value mix and gate; `chunk` tokens are computed at once."""

    vocab_size: int
    d_model: int
    n_layers: int
    d_head: int
    d_ff: int
    decay_rank: int
    rate_rank: int
    value_rank: int
    gate_rank: int
    norm_eps: float = 1e-5
    chunk: int = 16
    mup: MuP | None = None
    dtype: Dtype = "float32"
    remat: bool = False
    family: Literal["rwkv7"] = "rwkv7"

    def __post_init__(self):
        ranks = ("decay_rank", "rate_rank", "value_rank", "gate_rank")
        check_sizes("model", self, "vocab_size", "d_model", "n_layers", "d_head", "d_ff", "chunk", *ranks)
        check_positive("model", self, "norm_eps")
        if self.d_model % self.d_head:
            raise ValueError(f"model: d_model={self.d_model} is not a multiple of d_head={self.d_head}")
        if self.chunk > 64:
            raise ValueError(f"model: chunk={self.chunk}; beyond 64 a chunk's decay leaves float32's range")
        check_dtype(self.dtype)


Config = RWKV7Config


def count(config: RWKV7Config) -> Counts:
    """Parameters and FLOPs by component.

    The first layer's mix of its own values with themselves does nothing. "state" is the delta rule as
    training computes it, for whole chunks; a step of the recurrence has no matrix products.
    """
    layers, d, f, v = config.n_layers, config.d_model, config.d_ff, config.vocab_size
    k, c = config.d_head, config.chunk
    value = 2 * d * config.value_rank
    time = 4 * d * d + 2 * d * (config.decay_rank + config.rate_rank + config.gate_rank) + value
    channel = 2 * d * f
    idle = Part(0, idle=value + d, flops=-2 * value, wasted_flops=2 * value)
    doublings = (c - 1).bit_length() - 1
    inside = 20 * c * k + 4 * c * c * max(doublings, 0)
    across = 8 * k * k + 2 * k**3 / c
    parts = {
        "embedding": Part(v * d, looked_up=v * d),
        "time_mix": Part(time + 14 * d, flops=2 * time) * layers + idle,
        "state": Part(0, flops=round((inside + across) * d // k)) * layers,
        "channel_mix": Part(channel + d, flops=2 * channel) * layers,
        "norms": Part(2 * d * (2 * layers + 2)),
        "head": Part(v * d, flops=2 * v * d),
    }
    state = 2 * d * itemsize(config) + d * k * 4
    last = Part(0, flops=-2 * d * f * layers)
    again = parts["time_mix"] + parts["state"] + parts["channel_mix"] + last
    return Counts(parts, cache=((state, 1),) * layers, again=again)


def ladder(d_model: int, vocab_size: int) -> RWKV7Config:
    """The transformer's layers; heads of 64, or the largest power of two of which the width has several;
    ranks that grow as its root, as published, in steps of 8. What these leave of the transformer's parameters
    is the feed-forward layer's, whose width is at least 3/2 the model's.
    """
    n_layers = transformer.ladder(d_model, vocab_size).n_layers
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
