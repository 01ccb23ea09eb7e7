"""RWKV-4: each channel averages the past with weights that decay, in parallel or as a recurrence.

A is the width of this average.

What a layer keeps of the past is a few vectors, however long it was: what each of its two halves read last,
and of the average the weighted sum of values, the sum of weights and the log of the scale of both.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.configs.rwkv4 import RWKV4Config
from models.families.recurrent import State, recurrent, shifted
from models.layers.linear import project
from models.layers.norms import LayerNorm
from models.layers.wkv import add, later, wkv, wkv_state
from models.model import Model, last_token
from models.parameters import Keys, constant, weight
from models.parametrization import branch_scale
from models.sharding import constrain


class TimeMix(nnx.Module):
    """W_o(σ(r) · wkv): keys and values of the past, averaged, behind a gate; initial values as published."""

    def __init__(self, config: RWKV4Config, keys: Keys, layer: Any):
        d, a = config.d_model, config.d_attention
        depth, left = layer / max(config.n_layers - 1, 1), 1 - layer / config.n_layers
        place_D, place_A = jnp.arange(d) / d, jnp.arange(a) / max(a - 1, 1)
        self.share_r = constant(place_D ** (0.5 * left), (d,), "-> embed")
        self.share_k = constant(place_D**left, (d,), "-> embed")
        self.share_v = constant(place_D**left + 0.3 * depth, (d,), "-> embed")
        # Half-lives from a hundred tokens in the first channels to none in the last.
        self.log_decay = constant(-5 + 8 * place_A ** (0.7 + 1.3 * depth), (a,), "-> heads")
        self.bonus = constant(jnp.log(0.3) + 0.5 * ((jnp.arange(a) + 1) % 3 - 1), (a,), "-> heads")
        self.w_r = constant(0.0, (d, a), "embed -> heads")
        self.w_k = constant(0.0, (d, a), "embed -> heads")
        self.w_v = weight(keys, (d, a), d**-0.5, "embed -> heads")
        self.w_o = constant(0.0, (a, d), "heads -> embed")

    def gates_keys_values(self, x: jax.Array, before: jax.Array):
        """Gates in the compute type, keys and values in float32 [..., A]; `before` is x one token earlier."""
        r = jax.nn.sigmoid(project(mix(x, before, self.share_r), self.w_r))
        k = project(mix(x, before, self.share_k), self.w_k).astype(jnp.float32)
        v = project(mix(x, before, self.share_v), self.w_v).astype(jnp.float32)
        return r, k, v

    def __call__(self, x_BTD: jax.Array, lengths_B: jax.Array | None, first_BT: jax.Array | None):
        """Output [B,T,D], and the average's state after `lengths` tokens, if given; `first` begins texts."""
        r_BTA, k_BTA, v_BTA = self.gates_keys_values(x_BTD, shifted(x_BTD, first_BT))
        k_BTA, decay_A = constrain(k_BTA, "batch", "length", "heads"), jnp.exp(self.log_decay[...])
        y_BTA = wkv(k_BTA, v_BTA, decay_A, self.bonus[...], first_BT).astype(x_BTD.dtype)
        state = {} if lengths_B is None else wkv_state(k_BTA, v_BTA, decay_A, lengths_B)
        return project(r_BTA * y_BTA, self.w_o), state

    def decode(self, x_BD: jax.Array, before_BD: jax.Array, state: State):
        """One token a row: output [B,D] and the average's state after it."""
        r_BA, k_BA, v_BA = self.gates_keys_values(x_BD, before_BD)
        past, own_BA = ((state["sum"], state["weight"]), state["log_scale"]), (v_BA, jnp.ones_like(v_BA))
        (total_BA, weights_BA), _ = add(past, (own_BA, k_BA + self.bonus[...]))
        (sum_BA, weight_BA), log_scale_BA = add(later(past, jnp.exp(self.log_decay[...])), (own_BA, k_BA))
        out_BD = project(r_BA * (total_BA / weights_BA).astype(x_BD.dtype), self.w_o)
        return out_BD, {"sum": sum_BA, "weight": weight_BA, "log_scale": log_scale_BA}


class ChannelMix(nnx.Module):
    """σ(r) · W_v relu(W_k x)²: a feed-forward layer that also sees the token before."""

    def __init__(self, config: RWKV4Config, keys: Keys, layer: Any):
        d, f, left = config.d_model, config.d_ff, 1 - layer / config.n_layers
        self.share_r = constant((jnp.arange(d) / d) ** left, (d,), "-> embed")
        self.share_k = constant((jnp.arange(d) / d) ** left, (d,), "-> embed")
        self.w_r = constant(0.0, (d, d), "embed -> embed")
        self.w_k = weight(keys, (d, f), d**-0.5, "embed -> mlp")
        self.w_v = constant(0.0, (f, d), "mlp -> embed")

    def __call__(self, x: jax.Array, before: jax.Array) -> jax.Array:
        k = jnp.square(jax.nn.relu(project(mix(x, before, self.share_k), self.w_k)))
        r = jax.nn.sigmoid(project(mix(x, before, self.share_r), self.w_r))
        return r * project(k, self.w_v)


class Block(nnx.Module):
    """x + time_mix(norm(x)), then x + channel_mix(norm(x))."""

    def __init__(self, config: RWKV4Config, keys: Keys, layer: Any = 0):
        self.time_norm = LayerNorm(config.d_model, config.norm_eps)
        self.time_mix = TimeMix(config, keys, layer)
        self.channel_norm = LayerNorm(config.d_model, config.norm_eps)
        self.channel_mix = ChannelMix(config, keys, layer)
        self.branch_scale, self.rescale_every = branch_scale(config), config.rescale_every

    def scales(self, stream: tuple) -> tuple[Any, Any]:
        """What the branches are multiplied with, and the stream after the block; see `rescale_every`."""
        x, n_before = stream
        if n_before is None:
            return self.branch_scale, 1.0
        here, then = (jnp.exp2(-(n // self.rescale_every)) for n in (n_before, n_before + 1))
        return (self.branch_scale * here).astype(x.dtype), (then / here).astype(x.dtype)

    def __call__(self, stream: tuple, lengths_B: jax.Array | None, first_BT: jax.Array | None = None):
        """The stream (x [B,T,D], blocks before, if they matter) after the block, and the block's state after
        `lengths` tokens, if given."""
        (x_BTD, n_before), (branch_scale, after) = stream, self.scales(stream)
        read_BTD = self.time_norm(x_BTD)
        mixed_BTD, state = self.time_mix(read_BTD, lengths_B, first_BT)
        x_BTD = constrain(x_BTD + branch_scale * mixed_BTD, "batch", "length", None)
        feed_BTD = self.channel_norm(x_BTD)
        mixed_BTD = self.channel_mix(feed_BTD, shifted(feed_BTD, first_BT))
        x_BTD = constrain(x_BTD + branch_scale * mixed_BTD, "batch", "length", None)
        if lengths_B is not None:
            state |= {"time_x": last_token(read_BTD, lengths_B), "channel_x": last_token(feed_BTD, lengths_B)}
        return (x_BTD * after, _next(n_before)), state

    def decode(self, stream: tuple, state: State):
        """The stream (x [B,D], …) of one more token, and the state after it."""
        (x_BD, n_before), (branch_scale, after) = stream, self.scales(stream)
        read_BD = self.time_norm(x_BD)
        mixed_BD, new = self.time_mix.decode(read_BD, state["time_x"], state)
        x_BD = x_BD + branch_scale * mixed_BD
        feed_BD = self.channel_norm(x_BD)
        x_BD = x_BD + branch_scale * self.channel_mix(feed_BD, state["channel_x"])
        return (x_BD * after, _next(n_before)), new | {"time_x": read_BD, "channel_x": feed_BD}


def build(config: RWKV4Config) -> Model:
    """The network as functions of plain parameters; see `Model` for their shapes."""

    def enter(x: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        return x, jnp.int32(0) if config.rescale_every else None

    return recurrent(config, Block, enter, norm_eps=config.norm_eps, tied_embeddings=config.tied_embeddings)


def _next(n: jax.Array | None) -> jax.Array | None:
    return None if n is None else n + 1


def mix(x: jax.Array, before: jax.Array, share: nnx.Param) -> jax.Array:
    """Channel by channel, `share` of x and the rest of what was before."""
    return before + (x - before) * share[...].astype(x.dtype)
