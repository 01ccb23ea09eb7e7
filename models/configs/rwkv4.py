"""RWKV-4: each channel averages the past with weights that decay, in parallel or as a recurrence.

The configuration, exact counts, and the ladder of sizes.
"""

from dataclasses import dataclass, field
from typing import Literal

from models.configs import transformer
from models.configs.counting import Counts, Part, itemsize
from models.configs.model_config import MAX_LAYERS, Dtype, MuP, check_dtype, check_positive, check_sizes


@dataclass(frozen=True)
class RWKV4Config:
    """RWKV-4: attention as a decaying average, in parallel or as a recurrence (Peng et al. 2023).

    `rescale_every` halves the stream, and what is added to it, after every so many layers, as published ones
    are run so that float16 holds them (BlinkDL's ChatRWKV): the same network but for `norm_eps`; 0: never.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    d_attention: int
    d_ff: int
    tied_embeddings: bool = False
    norm_eps: float = 1e-5
    mup: MuP | None = None
    dtype: Dtype = "float32"
    remat: bool = False
    family: Literal["rwkv4"] = "rwkv4"
    rescale_every: int = field(default=0, metadata={"later": True})

    def __post_init__(self):
        check_sizes("model", self, "vocab_size", "d_model", "n_layers", "d_attention", "d_ff")
        check_positive("model", self, "norm_eps")
        if not 0 <= self.rescale_every <= MAX_LAYERS:
            raise ValueError(
                f"model: rescale_every={self.rescale_every}; it must be 0 (never) to {MAX_LAYERS:,} layers"
            )
        check_dtype(self.dtype)


Config = RWKV4Config


def count(config: RWKV4Config) -> Counts:
    """Parameters and FLOPs by component; the average itself has no matrix products."""
    layers, d, a, f, v = config.n_layers, config.d_model, config.d_attention, config.d_ff, config.vocab_size
    time, channel = 4 * d * a, 2 * d * f + d * d
    parts = {
        "embedding": Part(v * d, looked_up=0 if config.tied_embeddings else v * d),
        "time_mix": Part(time + 3 * d + 2 * a, flops=2 * time) * layers,
        "channel_mix": Part(channel + 2 * d, flops=2 * channel) * layers,
        "norms": Part(2 * d * (2 * layers + 2)),
        "head": Part(0 if config.tied_embeddings else v * d, flops=2 * v * d),
    }
    state = 2 * d * itemsize(config) + 3 * a * 4
    return Counts(parts, cache=((state, 1),) * layers, again=parts["time_mix"] + parts["channel_mix"])


def ladder(d_model: int, vocab_size: int) -> RWKV4Config:
    """The transformer's layers, and its parameters: so the feed-forward width is 7/2 the model's."""
    n_layers = transformer.ladder(d_model, vocab_size).n_layers
    return RWKV4Config(vocab_size, d_model, n_layers, d_attention=d_model, d_ff=7 * d_model // 2)
