"""RWKV-7: a matrix a head that a generalised delta rule edits, by chunk or by token (Peng et al. 2025).

A layer keeps of the past one matrix [K,K] a head and what each of its two halves read last, however long the
past was. In the suffixes P stands for the positions that are computed at once: [B,T], or [B] in decoding.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.configs.rwkv7 import RWKV7Config
from models.families.recurrent import State, recurrent, shifted
from models.layers.delta_rule import delta_rule, delta_rule_step
from models.layers.linear import project
from models.layers.norms import LayerNorm
from models.model import Model, last_token
from models.parameters import Keys, constant, weight
from models.parametrization import branch_scale
from models.sharding import constrain, platform

HEAD_EPS = 64e-5  # of the norm of each head's output, whatever the head size
SLOWEST = math.exp(-0.5)  # of log-decays a token, the largest: a channel keeps at least 0.545 of itself


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

    def read(self, x_PD: jax.Array, before_PD: jax.Array, v_first_PHK: jax.Array, is_first: jax.Array):
        """What edits and reads the state, all float32 [P,H,K]: receptance, log-decay, key, value, removed
        and replaced direction; then the gate [P,H,K], and the first layer's values.

        Args:
          x_PD: the normalised stream.
          before_PD: the same one token earlier.
          v_first_PHK: the first layer's values, which the first layer itself ignores.
          is_first: bool[], whether this is it.
        """
        r_PHK = project(blend(x_PD, before_PD, self.share_r), self.w_r).astype(jnp.float32)
        k_PHK = project(blend(x_PD, before_PD, self.share_k), self.w_k).astype(jnp.float32)
        x_v_PD = blend(x_PD, before_PD, self.share_v)
        v_PHK = project(x_v_PD, self.w_v)
        v_first_PHK = jnp.where(is_first, v_PHK, v_first_PHK)
        # In the first layer the difference is zero, and so is the gradient of what mixes it in.
        mixed_PHK = project(project(x_v_PD, self.value_in), self.value_out).astype(jnp.float32)
        v_PHK = v_PHK + (v_first_PHK - v_PHK) * jax.nn.sigmoid(self.value[...] + mixed_PHK)
        x_w_PD = blend(x_PD, before_PD, self.share_w)
        decay_PHK = project(jnp.tanh(project(x_w_PD, self.decay_in)), self.decay_out)
        log_w_PHK = -SLOWEST * jax.nn.sigmoid(self.decay[...] + decay_PHK.astype(jnp.float32))
        x_a_PD = blend(x_PD, before_PD, self.share_a)
        rate_PHK = project(project(x_a_PD, self.rate_in), self.rate_out)
        rate_PHK = jax.nn.sigmoid(self.rate[...] + rate_PHK.astype(jnp.float32))
        x_g_PD = blend(x_PD, before_PD, self.share_g)
        gate_PHK = project(jax.nn.sigmoid(project(x_g_PD, self.gate_in)), self.gate_out)
        removed_PHK = unit(k_PHK * self.scale_removed[...])
        k_PHK = k_PHK * (1 + (rate_PHK - 1) * self.scale_rate[...])
        edits = (r_PHK, log_w_PHK, k_PHK, v_PHK.astype(jnp.float32), -removed_PHK, removed_PHK * rate_PHK)
        return edits, gate_PHK, v_first_PHK

    def output(self, y_PHK: jax.Array, edits: tuple, gate_PHK: jax.Array) -> jax.Array:
        """What the heads read, normalised, with the token's own value, gated and projected [P,D]."""
        r_PHK, _, k_PHK, v_PHK, *_ = edits
        y_PHK = y_PHK - y_PHK.mean(axis=-1, keepdims=True)
        y_PHK = y_PHK * jax.lax.rsqrt(jnp.mean(y_PHK * y_PHK, axis=-1, keepdims=True) + HEAD_EPS)
        agreement_PH1 = (r_PHK * k_PHK * self.bonus[...]).sum(axis=-1, keepdims=True)
        own_PHK = self.bonus_scale * agreement_PH1 * v_PHK
        y_PHK = y_PHK * self.norm_scale[...] + self.norm_bias[...] + own_PHK
        return project(y_PHK.astype(gate_PHK.dtype) * gate_PHK, self.w_o)

    def __call__(
        self,
        x_BTD: jax.Array,
        v_first_BTHK: jax.Array,
        is_first: jax.Array,
        lengths_B: jax.Array | None,
        first_BT: jax.Array | None,
    ):
        """Output [B,T,D], the first layer's values, and the state after `lengths` tokens (default: T).

        Args:
          x_BTD: the normalised stream.
          v_first_BTHK, is_first: as for `read`.
          lengths_B: tokens a row; what comes after them leaves the state as it is.
          first_BT: bool, where a text begins; None: at the first token alone.
        """
        edits, gate_BTHK, v_first_BTHK = self.read(x_BTD, shifted(x_BTD, first_BT), v_first_BTHK, is_first)
        if lengths_B is not None:
            real_BT11 = (jnp.arange(x_BTD.shape[1]) < lengths_B[:, None])[..., None, None]
            r_BTHK, log_w_BTHK, k_BTHK, v_BTHK, removed_BTHK, replaced_BTHK = edits
            forgets_BTHK, puts_in_BTHK = log_w_BTHK * real_BT11, k_BTHK * real_BT11
            edits = (r_BTHK, forgets_BTHK, puts_in_BTHK, v_BTHK, removed_BTHK, replaced_BTHK * real_BT11)
        y_BTHK, state_BHKK = delta_rule(*edits, self.chunk, first_BT)
        return self.output(y_BTHK, edits, gate_BTHK), v_first_BTHK, {"matrix": state_BHKK}

    def decode(
        self,
        x_BD: jax.Array,
        v_first_BHK: jax.Array,
        is_first: jax.Array,
        before_BD: jax.Array,
        state: State,
    ):
        """One token a row: output [B,D], the first layer's values and the state after the token.

        Args:
          x_BD, v_first_BHK, is_first, before_BD: as for `read`.
          state: of the layer, "matrix" float32[B,H,K,K].
        """
        edits, gate_BHK, v_first_BHK = self.read(x_BD, before_BD, v_first_BHK, is_first)
        y_BHK, matrix_BHKK = delta_rule_step(*edits, state["matrix"])
        return self.output(y_BHK, edits, gate_BHK), v_first_BHK, {"matrix": matrix_BHKK}


class ChannelMix(nnx.Module):
    """W_v relu(W_k x)²: a feed-forward layer that also sees the token before."""

    def __init__(self, config: RWKV7Config, keys: Keys, layer: Any):
        d, f, left = config.d_model, config.d_ff, 1 - layer / config.n_layers
        self.share_k = constant(1 - (jnp.arange(d) / d) ** (left**4), (d,), "-> embed")
        self.w_k = weight(keys, (d, f), 0.29 * d**-0.5, "embed -> mlp")
        self.w_v = constant(0.0, (f, d), "mlp -> embed")

    def __call__(self, x_PD: jax.Array, before_PD: jax.Array) -> jax.Array:
        hidden_PF = jnp.square(jax.nn.relu(project(blend(x_PD, before_PD, self.share_k), self.w_k)))
        return project(hidden_PF, self.w_v)


class Block(nnx.Module):
    """x + time_mix(norm(x)), then x + channel_mix(norm(x)).

    Beside x, the first layer's values and whether this is it go from block to block.
    """

    def __init__(self, config: RWKV7Config, keys: Keys, layer: Any = 0):
        self.time_norm = LayerNorm(config.d_model, config.norm_eps)
        self.time_mix = TimeMix(config, keys, layer)
        self.channel_norm = LayerNorm(config.d_model, config.norm_eps)
        self.channel_mix = ChannelMix(config, keys, layer)
        self.branch_scale, self.remat = branch_scale(config), config.remat

    def __call__(self, stream: tuple, lengths_B: jax.Array | None, first_BT: jax.Array | None = None):
        """The stream (x [B,T,D], …) after the block, and its state after `lengths` tokens, if given."""
        x_BTD, v_first_BTHK, is_first = stream
        read_BTD = self.time_norm(x_BTD)
        mix = self.time_mix
        if platform() != "cpu" and not self.remat:
            # Between its projections the layer makes thirty times what it reads, in float32: too much for
            # an accelerator to keep of all layers. A CPU rather has the memory than the time.
            mix = jax.checkpoint(mix, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable)
        mixed_BTD, v_first_BTHK, state = mix(read_BTD, v_first_BTHK, is_first, lengths_B, first_BT)
        x_BTD = constrain(x_BTD + self.branch_scale * mixed_BTD, "batch", "length", None)
        feed_BTD = self.channel_norm(x_BTD)
        mixed_BTD = self.channel_mix(feed_BTD, shifted(feed_BTD, first_BT))
        x_BTD = constrain(x_BTD + self.branch_scale * mixed_BTD, "batch", "length", None)
        stream = x_BTD, v_first_BTHK, jnp.zeros_like(is_first)
        if lengths_B is None:
            return stream, {}
        return stream, state | {
            "time_x": last_token(read_BTD, lengths_B),
            "channel_x": last_token(feed_BTD, lengths_B),
        }

    def decode(self, stream: tuple, state: State):
        """The stream (x [B,D], …) of one more token, and the state after it."""
        x_BD, v_first_BHK, is_first = stream
        read_BD, before_BD = self.time_norm(x_BD), state["time_x"]
        mixed_BD, v_first_BHK, new = self.time_mix.decode(read_BD, v_first_BHK, is_first, before_BD, state)
        x_BD = x_BD + self.branch_scale * mixed_BD
        feed_BD = self.channel_norm(x_BD)
        x_BD = x_BD + self.branch_scale * self.channel_mix(feed_BD, state["channel_x"])
        return (x_BD, v_first_BHK, jnp.zeros_like(is_first)), new | {"time_x": read_BD, "channel_x": feed_BD}


def build(config: RWKV7Config) -> Model:
    """The network as functions of plain parameters; see `Model` for their shapes."""

    def enter(x_PD: jax.Array) -> tuple:
        heads_PHK = x_PD.reshape(*x_PD.shape[:-1], -1, config.d_head)
        return x_PD, jnp.zeros_like(heads_PHK), jnp.array(True)

    return recurrent(config, Block, enter, norm_eps=config.norm_eps)


def blend(x_PD: jax.Array, before_PD: jax.Array, share_D: nnx.Param) -> jax.Array:
    """Channel by channel, `share` of what was before and the rest of x."""
    return x_PD + (before_PD - x_PD) * share_D[...].astype(x_PD.dtype)


def unit(x_PHK: jax.Array) -> jax.Array:
    """x / |x| over the last axis; 0 where x is 0, with gradient 0."""
    return x_PHK * jax.lax.rsqrt(jnp.maximum((x_PHK * x_PHK).sum(axis=-1, keepdims=True), 1e-24))
