"""Exact counts of parameters and floating-point operations, by component.

Every family's file has `count(config) -> Counts`; tests hold them against the real tree and program.
"""

import functools
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """One component of a network.

    n_params: parameters stored; `looked_up` of them are only looked up, `idle` are multiplied by other tokens
      but not by this one (experts not chosen).
    flops: multiplications and additions of matrix products in one forward pass, per token.
    context_flops: the same for each token of context that a token meets.
    wasted_flops: what the program computes besides and throws away (room for tokens that experts never got).
    """

    n_params: int
    looked_up: int = 0
    idle: int = 0
    flops: int = 0
    context_flops: int = 0
    wasted_flops: float = 0

    def __mul__(self, times: int) -> "Part":
        return Part(*(times * value for value in vars(self).values()))

    def __add__(self, other: "Part") -> "Part":
        return Part(*(a + b for a, b in zip(vars(self).values(), vars(other).values())))


@dataclass(frozen=True)
class Counts:
    """Parameters and FLOPs of a model, a component at a time.

    `cache` lists what one row of a batch keeps while decoding: (bytes a slot, most slots), 0 for no limit.
    `again` is what remat computes a second time: the products of the blocks, without the last one of a block
    where no gradient depends on its result.
    """

    parts: dict[str, Part]
    cache: tuple[tuple[int, int], ...]
    again: Part

    @functools.cached_property
    def total(self) -> Part:
        return sum(self.parts.values(), Part(0))

    @property
    def n_total(self) -> int:
        """All parameters."""
        return self.total.n_params

    @property
    def n_embed(self) -> int:
        """Parameters that are only looked up."""
        return self.total.looked_up

    @property
    def n_params(self) -> int:
        """Parameters that are multiplied: everything but tables that are only looked up."""
        return self.n_total - self.n_embed

    @property
    def n_active(self) -> int:
        """Parameters that one token is multiplied with: `n_params` without the experts it does not go to."""
        return self.n_params - self.total.idle

    def forward_flops_per_token(self, seq_len: int) -> int:
        """Multiplications and additions of all matrix products of one forward pass, per token.

        Attention counts scores and values over all `seq_len` keys, as computed: masks save none.
        """
        return self.total.flops + self.total.context_flops * seq_len

    def flops_per_token(self, seq_len: int) -> int:
        """Forward and backward FLOPs of training per token: the backward pass has twice the products.

        What the model needs, not what a machine does: recomputation and wasted products are not counted.
        """
        return 3 * self.forward_flops_per_token(seq_len)

    def hardware_flops_per_token(self, seq_len: int, remat: bool) -> float:
        """FLOPs of all matrix products of a training step, per token: those of `flops_per_token`, wasted ones
        and, with `remat`, those computed again."""
        passes = 3 * _computed(self.total, seq_len)
        return passes + _computed(self.again, seq_len) if remat else passes

    def cache_bytes(self, n_tokens: int) -> int:
        """Bytes that one row keeps to decode up to `n_tokens` tokens, in the compute type."""
        return sum(slot * (min(n_tokens, most) if most else n_tokens) for slot, most in self.cache)


def _computed(part: Part, seq_len: int) -> float:
    return part.flops + part.context_flops * seq_len + part.wasted_flops


def itemsize(config: Any) -> int:
    """Bytes of a number in the compute type."""
    return {"float32": 4, "bfloat16": 2}[config.dtype]


def attention_part(config: Any) -> Part:
    """Attention of one decoder-only layer, without its norms."""
    d, h, g, k = config.d_model, config.n_heads, config.n_kv_heads, config.d_head
    weights = d * k * 2 * (h + g)
    biases = (h + 2 * g) * k * config.qkv_bias + d * config.output_bias
    return Part(weights + biases, flops=2 * weights, context_flops=4 * h * k)


def latent_attention_part(config: Any) -> Part:
    """Latent attention of one layer, with the norms of its latents."""
    d, h, k, of = config.d_model, config.n_heads, config.d_head, config.latent
    queries = of.q_rank * (d + h * k) if of.q_rank else d * h * k
    keys_values = d * (of.kv_rank + of.d_rope) + of.kv_rank * h * (k - of.d_rope + of.d_value)
    weights = queries + keys_values + h * of.d_value * d
    return Part(weights + of.kv_rank + of.q_rank, flops=2 * weights, context_flops=2 * h * (k + of.d_value))


def mlp_part(config: Any) -> Part:
    """The feed-forward layer of one layer."""
    d, f = config.d_model, config.d_ff
    weights = (3 if config.gated else 2) * d * f
    biases = ((2 if config.gated else 1) * f + d) * config.mlp_bias
    return Part(weights + biases, flops=2 * weights)
