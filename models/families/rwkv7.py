"""RWKV-7: a matrix a head that a generalised delta rule edits, by chunk or by token (Peng et al. 2025).

A layer keeps of the past one matrix [K,K] a head and what each of its two halves read last, however long the
past was.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from models.counting import Counts, Part, itemsize
from models.families import transformer
from models.families.recurrent import State, recurrent, shifted
from models.layers.delta_rule import delta_rule, delta_rule_step
from models.layers.linear import project
from models.layers.norms import LayerNorm
from models.model import Dtype, Model, check_at_least, check_dtype, last_token
from models.parameters import Keys, constant, weight
from models.parametrization import MuP, branch_scale
from models.sharding import constrain

HEAD_EPS = 64e-5  # of the norm of each head's output, whatever the head size
SLOWEST = math.exp(-0.5)  # of log-decays a token, the largest: a channel keeps at least 0.545 of itself


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
        check_at_least(
            "model", self, 1, "vocab_size", "d_model", "n_layers", "d_head", "d_ff", "chunk", *ranks
        )
        if self.d_model % self.d_head:
            raise ValueError(f"model: d_model={self.d_model} is not a multiple of d_head={self.d_head}")
        if self.chunk > 64:
            raise ValueError(f"model: chunk={self.chunk}; beyond 64 a chunk's decay leaves float32's range")
        check_dtype(self.dtype)


Config = RWKV7Config


class TimeMix(nnx.Module):
    """W_o(gate · (norm(S r) + bonus)): heads read from states that they edit; initial values as published."""

    def __init__(self, config: RWKV7Config, keys: Keys, layer: Any):
        d, k, h = config.d_model, config.d_head, config.d_model // config.d_head
        depth, left = layer / max(config.n_layers - 1, 1), 1 - layer / config.n_layers

        def share(power: float) -> nnx.Param:
            return constant(1 - (jnp.arange(d) / d) ** (power * left), (d,), "-> embed")

        def vector(value: float | jax.Array) -> nnx.Param:
            return constant(jnp.broadcast_to(value, (d,)).reshape(h, k), (h, k), "-> heads head")

        def low_rank(rank: int) -> tuple[nnx.Param, nnx.Param]:
            out = weight(keys, (rank, h, k), 0.05 * rank**-0.5, "rank -> heads head")
            return constant(0.0, (d, rank), "embed -> rank"), out

        self.share_r, self.share_g = share(0.2), share(0.2)
        self.share_k, self.share_v = share(0.7), share(0.7)
        self.share_w, self.share_a = share(0.9), share(0.9)
        self.w_r = weight(keys, (d, h, k), 0.29 * d**-0.5, "embed -> heads head")
        self.w_k = weight(keys, (d, h, k), 0.029 * d**-0.5, "embed -> heads head")
        self.w_v = weight(keys, (d, h, k), 0.29 * d**-0.5, "embed -> heads head")
        self.w_o = constant(0.0, (h, k, d), "heads head -> embed")
        # Over all channels from -1/2 to 1/2, and within a head from -1 to 1, flat in the middle.
        line = jnp.arange(d) / (d - 1) - 0.5
        bend = 2 * (jnp.arange(d) % k) / max(k - 1, 1) - 1
        bend = bend * jnp.abs(bend)
        self.decay = vector(6 * (line + 0.5) ** (1 + depth**0.3) - 5.5 + 2.5 * bend)
        self.rate = vector(0.3 * bend + 0.4 * line - 0.19)
        self.value = vector(0.73 - 0.4 * line)
        self.decay_in, self.decay_out = low_rank(config.decay_rank)
        self.rate_in, self.rate_out = low_rank(config.rate_rank)
        self.value_in, self.value_out = low_rank(config.value_rank)
        self.gate_in, self.gate_out = low_rank(config.gate_rank)
        self.scale_removed, self.scale_rate = vector(0.71 - 0.1 * line), vector(1.02)
        self.bonus, self.norm_scale, self.norm_bias = vector(-0.04), vector(1.0), vector(0.0)
        # The bonus is a scalar product of two heads; under muP it keeps the size it has at the base's.
        self.bonus_scale = config.mup.base_d_head / k if config.mup else 1.0
        self.chunk = config.chunk

    def read(self, x: jax.Array, before: jax.Array, v_first: jax.Array, is_first: jax.Array):
        """What edits and reads the state, all float32 [..., H,K]: receptance, log-decay, key, value, removed
        and replaced direction; then the gate [..., H,K], and the first layer's values."""
        r = project(blend(x, before, self.share_r), self.w_r).astype(jnp.float32)
        k = project(blend(x, before, self.share_k), self.w_k).astype(jnp.float32)
        x_v = blend(x, before, self.share_v)
        v = project(x_v, self.w_v)
        v_first = jnp.where(is_first, v, v_first)
        # In the first layer the difference is zero, and so is the gradient of what mixes it in.
        mixed = project(project(x_v, self.value_in), self.value_out).astype(jnp.float32)
        v = v + (v_first - v) * jax.nn.sigmoid(self.value[...] + mixed)
        decay = project(jnp.tanh(project(blend(x, before, self.share_w), self.decay_in)), self.decay_out)
        log_w = -SLOWEST * jax.nn.sigmoid(self.decay[...] + decay.astype(jnp.float32))
        rate = project(project(blend(x, before, self.share_a), self.rate_in), self.rate_out)
        rate = jax.nn.sigmoid(self.rate[...] + rate.astype(jnp.float32))
        gate = project(jax.nn.sigmoid(project(blend(x, before, self.share_g), self.gate_in)), self.gate_out)
        removed = unit(k * self.scale_removed[...])
        k = k * (1 + (rate - 1) * self.scale_rate[...])
        return (r, log_w, k, v.astype(jnp.float32), -removed, removed * rate), gate, v_first

    def output(self, y: jax.Array, edits: tuple, gate: jax.Array) -> jax.Array:
        """What the heads read [..., H,K], normalised, with the token's own value, gated and projected."""
        r, _, k, v, *_ = edits
        y = y - y.mean(axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + HEAD_EPS)
        own = self.bonus_scale * (r * k * self.bonus[...]).sum(axis=-1, keepdims=True) * v
        y = y * self.norm_scale[...] + self.norm_bias[...] + own
        return project(y.astype(gate.dtype) * gate, self.w_o)

    def __call__(self, x_BTD: jax.Array, v_first, is_first, lengths_B: jax.Array | None, first_BT):
        """Output [B,T,D], the first layer's values, and the state after `lengths` tokens (default: T).

        `first_BT`, if not None, is true where a text begins.
        """
        edits, gate, v_first = self.read(x_BTD, shifted(x_BTD, first_BT), v_first, is_first)
        if lengths_B is not None:
            real_BT11 = (jnp.arange(x_BTD.shape[1]) < lengths_B[:, None])[..., None, None]
            r, log_w, k, v, removed, replaced = edits
            edits = (r, log_w * real_BT11, k * real_BT11, v, removed, replaced * real_BT11)
        y_BTHK, state_BHKK = delta_rule(*edits, self.chunk, first_BT)
        return self.output(y_BTHK, edits, gate), v_first, {"matrix": state_BHKK}

    def decode(self, x_BD: jax.Array, v_first, is_first, before_BD: jax.Array, state: State):
        """One token a row: output [B,D], the first layer's values and the state after the token."""
        edits, gate, v_first = self.read(x_BD, before_BD, v_first, is_first)
        y_BHK, matrix = delta_rule_step(*edits, state["matrix"])
        return self.output(y_BHK, edits, gate), v_first, {"matrix": matrix}


class ChannelMix(nnx.Module):
    """W_v relu(W_k x)²: a feed-forward layer that also sees the token before."""

    def __init__(self, config: RWKV7Config, keys: Keys, layer: Any):
        d, f, left = config.d_model, config.d_ff, 1 - layer / config.n_layers
        self.share_k = constant(1 - (jnp.arange(d) / d) ** (left**4), (d,), "-> embed")
        self.w_k = weight(keys, (d, f), 0.29 * d**-0.5, "embed -> mlp")
        self.w_v = constant(0.0, (f, d), "mlp -> embed")

    def __call__(self, x: jax.Array, before: jax.Array) -> jax.Array:
        return project(jnp.square(jax.nn.relu(project(blend(x, before, self.share_k), self.w_k))), self.w_v)


class Block(nnx.Module):
    """x + time_mix(norm(x)), then x + channel_mix(norm(x)).

    Beside x, the first layer's values and whether this is it go from block to block.
    """

    def __init__(self, config: RWKV7Config, keys: Keys, layer: Any = 0):
        self.time_norm = LayerNorm(config.d_model, config.norm_eps)
        self.time_mix = TimeMix(config, keys, layer)
        self.channel_norm = LayerNorm(config.d_model, config.norm_eps)
        self.channel_mix = ChannelMix(config, keys, layer)
        self.branch_scale = branch_scale(config)

    def __call__(self, stream: tuple, lengths_B: jax.Array | None, first_BT: jax.Array | None = None):
        """The stream (x [B,T,D], …) after the block, and its state after `lengths` tokens, if given."""
        x_BTD, v_first, is_first = stream
        read_BTD = self.time_norm(x_BTD)
        mixed_BTD, v_first, state = self.time_mix(read_BTD, v_first, is_first, lengths_B, first_BT)
        x_BTD = constrain(x_BTD + self.branch_scale * mixed_BTD, "batch", "length", None)
        feed_BTD = self.channel_norm(x_BTD)
        mixed_BTD = self.channel_mix(feed_BTD, shifted(feed_BTD, first_BT))
        x_BTD = constrain(x_BTD + self.branch_scale * mixed_BTD, "batch", "length", None)
        stream = x_BTD, v_first, jnp.zeros_like(is_first)
        if lengths_B is None:
            return stream, {}
        return stream, state | {
            "time_x": last_token(read_BTD, lengths_B),
            "channel_x": last_token(feed_BTD, lengths_B),
        }

    def decode(self, stream: tuple, state: State):
        """The stream (x [B,D], …) of one more token, and the state after it."""
        x_BD, v_first, is_first = stream
        read_BD = self.time_norm(x_BD)
        mixed_BD, v_first, new = self.time_mix.decode(read_BD, v_first, is_first, state["time_x"], state)
        x_BD = x_BD + self.branch_scale * mixed_BD
        feed_BD = self.channel_norm(x_BD)
        x_BD = x_BD + self.branch_scale * self.channel_mix(feed_BD, state["channel_x"])
        return (x_BD, v_first, jnp.zeros_like(is_first)), new | {"time_x": read_BD, "channel_x": feed_BD}


def build(config: RWKV7Config) -> Model:
    """The network as functions of plain parameters; see `Model` for their shapes."""

    def enter(x: jax.Array) -> tuple:
        heads = x.reshape(*x.shape[:-1], -1, config.d_head)
        return x, jnp.zeros_like(heads), jnp.array(True)

    return recurrent(config, Block, enter, norm_eps=config.norm_eps)


def blend(x: jax.Array, before: jax.Array, share: nnx.Param) -> jax.Array:
    """Channel by channel, `share` of what was before and the rest of x."""
    return x + (before - x) * share[...].astype(x.dtype)


def unit(x: jax.Array) -> jax.Array:
    """x / |x| over the last axis; 0 where x is 0, with gradient 0."""
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(axis=-1, keepdims=True), 1e-24))


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
