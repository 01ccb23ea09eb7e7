"""What layers are told besides sizes."""

from dataclasses import dataclass, field
from typing import Literal

from models.configs.model_config import check_positive, check_sizes

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "clamped_swiglu"]  # the last for gates alone
QKNorm = Literal["none", "head", "width"]
CELL_SIZES = {"gru": (3, 1), "lstm": (4, 2)}  # gates of a recurrent cell, and arrays of its state
FULL = 32  # bits of a weight that is not rounded


@dataclass(frozen=True)
class RopeScaling:
    """Stretches rotary positions beyond `original_len` tokens.

    The frequency limits belong to llama3, the betas to yarn. The attention factor is yarn's, where 0 stands
    for 0.1·ln(factor) + 1, and longrope's, where it does for √(1 + ln(factor) / ln(original_len)); longrope's
    are `factors`, one for each pair.
    """

    kind: Literal["linear", "llama3", "yarn", "longrope"]
    factor: float
    original_len: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 0.0
    truncate: bool = True
    factors: tuple[float, ...] = field(default=(), metadata={"later": True})

    def __post_init__(self):
        if not self.factor >= 1:
            raise ValueError(f"model: rope_scaling.factor={self.factor}; it must be at least 1")
        if self.kind != "linear" and self.original_len < 1:
            raise ValueError(f"model: rope_scaling {self.kind!r} needs original_len, the length trained on")
        if (self.kind == "longrope") != bool(self.factors) or not all(each > 0 for each in self.factors):
            raise ValueError(
                f"model: rope_scaling {self.kind!r} with factors={self.factors}; longrope has some, positive"
            )


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (MLA; DeepSeek-V2, 2024).

    `kv_rank` is the width of the latent of keys and values, `q_rank` that of queries (0: none, straight from
    the stream). The last `d_rope` of a head's d_head dimensions are rotated; of keys all heads share these.
    `d_value` is the width of a head's values.
    """

    kv_rank: int
    d_rope: int
    d_value: int
    q_rank: int = 0

    def __post_init__(self):
        check_sizes("model: latent", self, "kv_rank", "d_rope", "d_value")
        if self.d_rope % 2:
            raise ValueError(f"model: latent.d_rope={self.d_rope}; rope rotates pairs, so it must be even")
        check_sizes("model: latent", self, "q_rank", least=0)


@dataclass(frozen=True)
class Experts:
    """The mixture of experts that takes the place of a feed-forward layer.

    Each token goes to the `top_k` experts of highest router probability, each SwiGLU of width `d_expert`;
    `d_shared` is the width of one SwiGLU that all tokens pass (0: none), scaled by a sigmoid gate of its own
    if `shared_gate`. `renormalize` makes the chosen probabilities sum to one; of a single expert that teaches
    the router nothing. Dispatch "capacity" gives every expert room for capacity_factor · top_k / n_experts of
    the tokens of a row and drops what does not fit; "dropless" keeps all. The losses' weights are those of
    Switch (balance) and ST-MoE (router z).
    `dense_layers` are the numbers of layers that have a dense feed-forward layer instead, as wide as the
    model's `d_ff` (the first ones in DeepSeek, Dai et al. 2024; any in Qwen3). `biases` gives router and
    experts some (gpt-oss).

    DeepSeek's (V2 2024, V3 2024): affinities are `scores`, in which `choice_bias` gives each expert a bias
    that counts in choosing alone (none of our losses trains it); of `n_groups` equal groups the choice is
    among the `top_groups` best; `scale` multiplies the weights.
    """

    n_experts: int
    top_k: int
    d_expert: int
    d_shared: int = 0
    shared_gate: bool = False
    renormalize: bool = True
    dispatch: Literal["capacity", "dropless"] = "capacity"
    capacity_factor: float = 1.25
    balance_loss: float = 0.01
    z_loss: float = 1e-3
    dense_layers: tuple[int, ...] = field(default=(), metadata={"later": True})
    biases: bool = field(default=False, metadata={"later": True})
    scores: Literal["softmax", "sigmoid"] = field(default="softmax", metadata={"later": True})
    choice_bias: bool = field(default=False, metadata={"later": True})
    n_groups: int = field(default=1, metadata={"later": True})
    top_groups: int = field(default=1, metadata={"later": True})
    scale: float = field(default=1.0, metadata={"later": True})

    def __post_init__(self):
        check_sizes("model: experts", self, "n_experts", "top_k", "d_expert")
        check_sizes("model: experts", self, "d_shared", least=0)
        if self.top_k > self.n_experts:
            raise ValueError(f"model: experts.top_k={self.top_k} of n_experts={self.n_experts}; choose fewer")
        check_sizes("model: experts", self, "n_groups", "top_groups")
        check_positive("model: experts", self, "scale")
        in_groups = self.n_experts // self.n_groups * self.top_groups
        if self.n_experts % self.n_groups or self.top_groups > self.n_groups or in_groups < self.top_k:
            raise ValueError(
                f"model: experts.n_groups={self.n_groups}, top_groups={self.top_groups} of n_experts="
                f"{self.n_experts}; groups must be equal, and those chosen have top_k={self.top_k} experts"
            )
        if not self.capacity_factor > 0:
            raise ValueError(f"model: experts.capacity_factor={self.capacity_factor}; it must be positive")
