"""Decoder-only transformer: GPT-2, Llama, Gemma, DeepSeek and their like, by configuration.

The configuration, what it says of each layer, exact counts, and the ladder of sizes.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from models.configs.counting import Counts, Part, attention_part, itemsize, latent_attention_part, mlp_part
from models.configs.layers import FULL, Activation, Experts, Latent, QKNorm, RopeScaling
from models.configs.model_config import Dtype, MuP, check_dtype, check_positive, check_sizes

BLOCKS, DENSE = "blocks", "dense_blocks"  # stacks of parameters; the second is of layers without experts


@dataclass(frozen=True)
class TransformerConfig:
    """Decoder-only transformer. The defaults are Llama's: pre-norm, RMSNorm, rope, SwiGLU, no biases.

    `norm_position`: "pre" normalises what a branch reads, "post" what it adds (OLMo 2), "both" is Gemma 2's.
    `qk_norm`: RMSNorm of queries and keys by "head" (Qwen3) or over all heads' "width" (OLMo 2).
    `windows` are repeated through the layers; 0 sees everything before it, w only the last w tokens.
    `rope_layers` are repeated likewise; where False, rope rotates nothing (Yang et al. 2025; SmolLM3's NoPE).
    `rope_width`: rope rotates so many of a head's dimensions, the first (GPT-NeoX, Phi-4-mini); 0: all.
    `local_rope_theta` is rope's base in layers with a window, where it is not stretched (Gemma 3); 0: as in
    the others. `sinks` gives each head a learnt score without a key (gpt-oss, OpenAI 2025).
    `latent` makes keys and values of one narrow vector a token (MLA, DeepSeek-V2).
    `attention_scale` multiplies the scores; 0 stands for 1/√d_head. A softcap c turns x into c·tanh(x/c).
    `dtype` is the compute type; parameters are always float32. `remat` recomputes each block in the
    backward pass: less memory, about a third more time, the same numbers. `weight_bits` below 32 rounds the
    blocks' matrices to so many bits wherever they are used (models/quantization.py).
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
    qk_norm: QKNorm = "none"
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
    weight_bits: int = field(default=FULL, metadata={"later": True})  # left out of the JSON where it is 32
    rope_layers: tuple[bool, ...] = field(default=(True,), metadata={"later": True})
    local_rope_theta: float = field(default=0.0, metadata={"later": True})
    sinks: bool = field(default=False, metadata={"later": True})
    rope_width: int = field(default=0, metadata={"later": True})
    latent: Latent | None = field(default=None, metadata={"later": True})

    def __post_init__(self):
        sizes = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_head", "d_ff")
        check_sizes("model", self, *sizes)
        check_sizes("model", self, "max_len", least=int(self.positions == "learned"))
        check_positive("model", self, "norm_eps", "rope_theta", "embedding_scale")
        for name in ("attention_scale", "attention_softcap", "logit_softcap", "local_rope_theta"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"model: {name}={getattr(self, name)}; it must be finite, and 0 at least")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"model: n_heads={self.n_heads} is not a multiple of n_kv_heads={self.n_kv_heads}; "
                "query heads share key/value heads in equal groups"
            )
        if self.positions == "rope" and self.d_head % 2:
            raise ValueError(f"model: d_head={self.d_head}; rope rotates pairs, so it must be even")
        if not self.windows or min(self.windows) < 0 or len(self.windows) > self.n_layers:
            raise ValueError(
                f"model: windows={self.windows}; give 1 to n_layers={self.n_layers} of them, each at least 0"
            )
        if not self.rope_layers or len(self.rope_layers) > self.n_layers:
            raise ValueError(
                f"model: rope_layers={self.rope_layers}; give 1 to n_layers={self.n_layers} of them"
            )
        if self.activation == "clamped_swiglu" and not self.gated:
            raise ValueError("model: activation='clamped_swiglu' with gated=False; it is one of gates")
        if (self.family == "moe") != (self.experts is not None):
            raise ValueError(f"model: family={self.family!r} with experts={self.experts}; 'moe' has them")
        dense = self.experts.dense_layers if self.experts else ()
        if list(dense) != sorted(set(dense)) or not set(dense) < set(range(self.n_layers)):
            raise ValueError(
                f"model: experts.dense_layers={dense}; give some of the layers 0 to {self.n_layers - 1} in "
                "order, not all"
            )
        if not 2 <= self.weight_bits <= FULL:
            raise ValueError(
                f"model: weight_bits={self.weight_bits}; allowed are 2 to {FULL}, which is no rounding"
            )
        if self.rope_width % 2 or not 0 <= self.rope_width <= self.d_head:
            raise ValueError(
                f"model: rope_width={self.rope_width}; it must be even, and at most d_head={self.d_head}"
            )
        if self.latent:
            self._check_latent(self.latent)
        n_factors = len(self.rope_scaling.factors) if self.rope_scaling else 0
        if n_factors not in (0, self.d_rope // 2):
            raise ValueError(
                f"model: rope_scaling has {n_factors} factors; it must have one for each of the "
                f"{self.d_rope // 2} pairs that rope rotates"
            )
        check_dtype(self.dtype)

    def _check_latent(self, latent: Latent) -> None:
        plain = {
            "positions": "rope",
            "qk_norm": "none",
            "qkv_bias": False,
            "output_bias": False,
            "sinks": False,
        }
        plain |= {
            "attention_softcap": 0.0,
            "rope_width": 0,
            "n_kv_heads": self.n_heads,
            "rope_layers": (True,),
        }
        for name, value in plain.items():
            if getattr(self, name) != value:
                raise ValueError(f"model: latent with {name}={getattr(self, name)!r}; it must be {value!r}")
        if latent.d_rope >= self.d_head:
            raise ValueError(f"model: latent.d_rope={latent.d_rope}; it must be below d_head={self.d_head}")

    @property
    def d_rope(self) -> int:
        """Dimensions of a head that rope rotates."""
        return self.latent.d_rope if self.latent else self.rope_width or self.d_head

    def kinds(self) -> tuple["LayerKind", ...]:
        """What each layer is."""
        dense = self.experts.dense_layers if self.experts else ()

        def kind(i: int) -> LayerKind:
            window, rope = self.windows[i % len(self.windows)], None
            if self.positions == "rope" and self.rope_layers[i % len(self.rope_layers)]:
                local = self.local_rope_theta if window else 0.0
                rope = (local, None) if local else (self.rope_theta, self.rope_scaling)
            return LayerKind(DENSE if i in dense else BLOCKS, window, rope)

        return tuple(kind(i) for i in range(self.n_layers))


@dataclass(frozen=True)
class LayerKind:
    """In which stack of the parameters a layer is, how far back it sees (0: all that is before it), and base
    and stretching of its rotary positions, if it has them."""

    stack: str
    window: int
    rope: tuple[float, RopeScaling | None] | None = None


Config = TransformerConfig


def count(config: TransformerConfig) -> Counts:
    """Parameters and FLOPs by component; of a mixture of experts that of its dense layers."""
    layers, d, v = config.n_layers, config.d_model, config.vocab_size
    n_dense = len(config.experts.dense_layers) if config.experts else layers
    norms_a_layer = (4 if config.norm_position == "both" else 2) * d
    norm_width = 2 if config.norm == "layer" else 1  # scale, and bias
    n_heads = {"none": 0, "head": 2, "width": config.n_heads + config.n_kv_heads}[config.qk_norm]
    positions = config.max_len * d if config.positions == "learned" else 0
    attends = latent_attention_part(config) if config.latent else attention_part(config)
    parts = {
        "embedding": Part(v * d + positions, looked_up=positions + (0 if config.tied_embeddings else v * d)),
        "attention": (attends + Part(config.n_heads * config.sinks)) * layers,
        "mlp": mlp_part(config) * n_dense,
        "norms": Part((norms_a_layer * layers + d) * norm_width + n_heads * config.d_head * layers),
        "head": Part(0 if config.tied_embeddings else v * d, flops=2 * v * d),
    }
    # A norm after the branch needs the branch's result; what only adds it does not.
    last = Part(0, flops=-2 * d * config.d_ff * n_dense if config.norm_position == "pre" else 0)
    slot = 2 * config.n_kv_heads * config.d_head * itemsize(config)
    if config.latent:
        slot = (config.latent.kv_rank + config.latent.d_rope) * itemsize(config)
    cache = tuple((slot, config.windows[i % len(config.windows)]) for i in range(layers))
    return Counts(parts, cache, again=parts["attention"] + parts["mlp"] + last)


def ladder(d_model: int, vocab_size: int) -> TransformerConfig:
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
