"""Frozen descriptions of networks; everything else about a model is derived from one of these."""

from dataclasses import dataclass
from typing import Any, Literal

Dtype = Literal["float32", "bfloat16"]
Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]


@dataclass(frozen=True)
class MuP:
    """The size at which hyperparameters were tuned; see `models.parametrization`."""

    base_d_model: int
    base_n_layers: int
    base_d_head: int


@dataclass(frozen=True)
class RopeScaling:
    """Stretches rotary positions beyond `original_len` tokens; see `models.layers.positions` for the kinds.

    The frequency limits belong to llama3, the betas and the attention factor (0: 0.1·ln(factor) + 1) to yarn.
    """

    kind: Literal["linear", "llama3", "yarn"]
    factor: float
    original_len: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 0.0
    truncate: bool = True

    def __post_init__(self):
        if not self.factor >= 1:
            raise ValueError(f"model: rope_scaling.factor={self.factor}; it must be at least 1")
        if self.kind != "linear" and self.original_len < 1:
            raise ValueError(f"model: rope_scaling {self.kind!r} needs original_len, the length trained on")


@dataclass(frozen=True)
class Experts:
    """The mixture of experts that takes the place of a feed-forward layer; see `models.layers.moe`.

    Each token goes to the `top_k` experts of highest router probability, each SwiGLU of width `d_expert`;
    `d_shared` is the width of one SwiGLU that all tokens pass (0: none), scaled by a sigmoid gate of its own
    if `shared_gate`. `renormalize` makes the chosen probabilities sum to one. Dispatch "capacity" gives every
    expert room for capacity_factor · top_k / n_experts of the tokens of a row and drops what does not fit;
    "dropless" keeps all. The losses' weights are those of Switch (balance) and ST-MoE (router z).
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

    def __post_init__(self):
        _at_least("model: experts", self, 1, "n_experts", "top_k", "d_expert")
        if self.top_k > self.n_experts:
            raise ValueError(f"model: experts.top_k={self.top_k} of n_experts={self.n_experts}; choose fewer")
        if not self.capacity_factor > 0:
            raise ValueError(f"model: experts.capacity_factor={self.capacity_factor}; it must be positive")


@dataclass(frozen=True)
class TransformerConfig:
    """Decoder-only transformer. The defaults are Llama's: pre-norm, RMSNorm, rope, SwiGLU, no biases.

    `norm_position`: "pre" normalises what a branch reads, "post" what it adds (OLMo 2), "both" is Gemma 2's.
    `qk_norm`: RMSNorm of queries and keys by "head" (Qwen3) or over all heads' "width" (OLMo 2).
    `windows` are repeated through the layers; 0 sees everything before it, w only the last w tokens.
    `attention_scale` multiplies the scores; 0 stands for 1/√d_head. A softcap c turns x into c·tanh(x/c).
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
    embedding_scale: float = 1.0
    positions: Literal["rope", "learned", "sinusoidal", "none"] = "rope"
    max_len: int = 0  # rows of the table of learned positions; elsewhere the length meant, 0: not said
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm: Literal["rms", "layer"] = "rms"
    norm_position: Literal["pre", "post", "both"] = "pre"
    norm_eps: float = 1e-6
    qk_norm: Literal["none", "head", "width"] = "none"
    windows: tuple[int, ...] = (0,)
    attention_scale: float = 0.0
    attention_softcap: float = 0.0
    logit_softcap: float = 0.0
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    gated: bool = True
    activation: Activation = "silu"
    experts: Experts | None = None
    mup: MuP | None = None
    dtype: Dtype = "float32"
    remat: bool = False
    family: Literal["transformer", "moe"] = "transformer"

    def __post_init__(self):
        sizes = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_head", "d_ff")
        _at_least("model", self, 1, *sizes)
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"model: n_heads={self.n_heads} is not a multiple of n_kv_heads={self.n_kv_heads}; "
                "query heads share key/value heads in equal groups"
            )
        if self.positions == "rope" and self.d_head % 2:
            raise ValueError(f"model: d_head={self.d_head}; rope rotates pairs, so it must be even")
        if self.positions == "learned" and self.max_len < 1:
            raise ValueError(f"model: max_len={self.max_len}; learned positions need a table of at least 1")
        if not self.windows or min(self.windows) < 0 or len(self.windows) > self.n_layers:
            raise ValueError(
                f"model: windows={self.windows}; give 1 to n_layers={self.n_layers} of them, each at least 0"
            )
        if (self.family == "moe") != (self.experts is not None):
            raise ValueError(f"model: family={self.family!r} with experts={self.experts}; 'moe' has them")
        _check_dtype(self.dtype)


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
        _at_least("model", self, 1, *sizes)
        if self.n_buckets < 4 or self.n_buckets % 2 or self.max_distance <= self.n_buckets:
            raise ValueError(
                f"model: n_buckets={self.n_buckets}, max_distance={self.max_distance}; "
                "buckets are even, at least 4 and fewer than the largest distance told apart"
            )
        _check_dtype(self.dtype)


@dataclass(frozen=True)
class RNNConfig:
    """Seq2seq recurrent network: an encoder, its last hidden state handed to a decoder.

    With `attention` the decoder also looks back at all encoder states (Luong et al. 2015).
    """

    vocab_size: int
    d_model: int
    n_layers: int
    cell: Literal["gru", "lstm"] = "gru"
    attention: bool = True
    dtype: Dtype = "float32"
    remat: bool = False
    family: Literal["rnn"] = "rnn"

    def __post_init__(self):
        _at_least("model", self, 1, "vocab_size", "d_model", "n_layers")
        _check_dtype(self.dtype)


@dataclass(frozen=True)
class RWKV4Config:
    """RWKV-4: attention as a decaying average, in parallel or as a recurrence (Peng et al. 2023)."""

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

    def __post_init__(self):
        _at_least("model", self, 1, "vocab_size", "d_model", "n_layers", "d_attention", "d_ff")
        _check_dtype(self.dtype)


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
        _at_least("model", self, 1, "vocab_size", "d_model", "n_layers", "d_head", "d_ff", "chunk", *ranks)
        if self.d_model % self.d_head:
            raise ValueError(f"model: d_model={self.d_model} is not a multiple of d_head={self.d_head}")
        if self.chunk > 64:
            raise ValueError(f"model: chunk={self.chunk}; beyond 64 a chunk's decay leaves float32's range")
        _check_dtype(self.dtype)


ModelConfig = TransformerConfig | EncDecConfig | RNNConfig | RWKV4Config | RWKV7Config


def _at_least(where: str, config: Any, least: int, *names: str) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{where}: {name}={getattr(config, name)}; it must be at least {least}")


def _check_dtype(dtype: str) -> None:
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"model: dtype={dtype!r}; allowed are 'float32' and 'bfloat16'")
