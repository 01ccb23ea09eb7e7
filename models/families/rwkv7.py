"""RWKV-7: a matrix a head that a generalised delta rule edits, by chunk or by token (Peng et al. 2025).

A layer keeps of the past one matrix [K,K] a head and what each of its two halves read last, however long the
past was.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models.config import RWKV7Config
from models.counting import Counts, Part, itemsize
from models.layers.linear import Keys, LayerNorm, constant, last, project, weight
from models.families.recurrent import State, recurrent, shifted
from models.model import Model
from models.parametrization import branch_scale
from models.sharding import constrain

HEAD_EPS = 64e-5  # of the norm of each head's output, whatever the head size
SLOWEST = float(np.exp(-0.5))  # of log-decays a token, the largest: a channel keeps at least 0.545 of itself


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

    def __call__(self, x_BTD: jax.Array, v_first, is_first, lengths_B: jax.Array | None):
        """Output [B,T,D], the first layer's values, and the state after `lengths` tokens (default: T)."""
        edits, gate, v_first = self.read(x_BTD, shifted(x_BTD), v_first, is_first)
        if lengths_B is not None:
            real_BT11 = (jnp.arange(x_BTD.shape[1]) < lengths_B[:, None])[..., None, None]
            r, log_w, k, v, removed, replaced = edits
            edits = (r, log_w * real_BT11, k * real_BT11, v, removed, replaced * real_BT11)
        y_BTHK, state_BHKK = delta_rule(*edits, self.chunk)
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

    def __call__(self, stream: tuple, lengths_B: jax.Array | None):
        """The stream (x [B,T,D], …) after the block, and its state after `lengths` tokens, if given."""
        x_BTD, v_first, is_first = stream
        read_BTD = self.time_norm(x_BTD)
        mixed_BTD, v_first, state = self.time_mix(read_BTD, v_first, is_first, lengths_B)
        x_BTD = constrain(x_BTD + self.branch_scale * mixed_BTD, "batch", "length", None)
        feed_BTD = self.channel_norm(x_BTD)
        mixed_BTD = self.channel_mix(feed_BTD, shifted(feed_BTD))
        x_BTD = constrain(x_BTD + self.branch_scale * mixed_BTD, "batch", "length", None)
        stream = x_BTD, v_first, jnp.zeros_like(is_first)
        if lengths_B is None:
            return stream, {}
        return stream, state | {"time_x": last(read_BTD, lengths_B), "channel_x": last(feed_BTD, lengths_B)}

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

    return recurrent(config, Block, enter)


def blend(x: jax.Array, before: jax.Array, share: nnx.Param) -> jax.Array:
    """Channel by channel, `share` of what was before and the rest of x."""
    return x + (before - x) * share[...].astype(x.dtype)


def unit(x: jax.Array) -> jax.Array:
    """x / |x| over the last axis; 0 where x is 0, with gradient 0."""
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(axis=-1, keepdims=True), 1e-24))


# --- generalised delta rule ---------------------------------------------------------------------------------
# A head's state S [V,K] (both of its size) becomes S·diag(w) + (S a) bᵀ + v kᵀ at each token, which then
# reads S r: it forgets by w, takes out what it knows in the direction -a, and puts in v at k.


def delta_rule_step(r, log_w, k, v, a, b, state_BHVK: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One token of the recurrence, float32 [B,H,K]: what is read [B,H,V], and the state after it."""
    removed_BHV = (state_BHVK * a[..., None, :]).sum(axis=-1)
    state_BHVK = state_BHVK * jnp.exp(log_w)[..., None, :]
    state_BHVK = state_BHVK + removed_BHV[..., None] * b[..., None, :] + v[..., None] * k[..., None, :]
    return (state_BHVK * r[..., None, :]).sum(axis=-1), state_BHVK


def delta_rule(r, log_w, k, v, a, b, chunk: int) -> tuple[jax.Array, jax.Array]:
    """What all tokens read [B,T,H,V] from a state that begins at zero, and the state [B,H,V,K] at the end.

    Arguments are float32 [B,T,H,K]. Within a chunk of C tokens u_t = S_{t-1} a_t solves a triangular system:
    with W_t the product of w up to t, u_t = S_0 W_{t-1} a_t + Σ_{i<t} (u_i b_i + v_i k_i)·(W_{t-1}/W_i) a_t
    (the WY form of Yang et al. 2024). So all is products of matrices but one scan, whose steps take the
    state past a chunk: S ← S·M + N. As no w is below 0.54, W and 1/W are numbers for C ≤ 64.
    """
    t = r.shape[1]
    n = -(-t // chunk)

    def chunks(x_BTHK: jax.Array) -> jax.Array:
        # What is padded neither forgets nor takes out nor puts in.
        padded = jnp.pad(x_BTHK, ((0, 0), (0, n * chunk - t), (0, 0), (0, 0)))
        return padded.reshape(padded.shape[0], n, chunk, *padded.shape[2:]).transpose(0, 3, 1, 2, 4)

    r, log_w, k, v, a, b = (chunks(x) for x in (r, log_w, k, v, a, b))  # [B,H,N,C,K]
    log_W = jnp.cumsum(log_w, axis=-2)
    W, inverse_W, W_end = jnp.exp(log_W), jnp.exp(-log_W), jnp.exp(log_W[..., -1:, :])
    a, r = a * jnp.exp(log_W - log_w), r * W
    b, k = b * inverse_W, k * inverse_W

    readers, writers = jnp.concatenate([a, r], axis=-2), jnp.concatenate([b, k], axis=-2)
    strictly, until = np.tri(chunk, k=-1, dtype=bool), np.tri(chunk, dtype=bool)
    seen = np.block([[strictly, strictly], [until, until]])
    scores = jnp.where(seen, product(readers, writers.swapaxes(-1, -2)), 0.0)
    a_b, r_b = scores[..., :chunk, :chunk], scores[..., chunk:, :chunk]
    of_values = product(scores[..., chunk:], v)  # what readers find of the chunk's own values

    # Columns of u and of what is read: first what they are at S = 0, then their dependence on S.
    u_0, y_0 = of_values[..., :chunk, :], of_values[..., chunk:, :]
    u = product(inverse(a_b), jnp.concatenate([u_0, a], axis=-1))
    y = jnp.concatenate([y_0, r], axis=-1) + product(r_b, u)
    size = v.shape[-1]
    edits = product(u.swapaxes(-1, -2), b * W_end)
    put_in = product(v.swapaxes(-1, -2), k * W_end)
    N, M = edits[..., :size, :] + put_in, edits[..., size:, :] + W_end * jnp.eye(size)

    def step(state_BHVK, of_chunk):
        N_BHVK, M_BHKK = of_chunk
        return product(state_BHVK, M_BHKK) + N_BHVK, state_BHVK

    across = (jnp.moveaxis(N, 2, 0), jnp.moveaxis(M, 2, 0))
    state_BHVK, states = jax.lax.scan(step, jnp.zeros_like(N[:, :, 0]), across)
    y = y[..., :size] + product(y[..., size:], jnp.moveaxis(states, 0, 2).swapaxes(-1, -2))
    y_BTHV = y.transpose(0, 2, 3, 1, 4).reshape(y.shape[0], n * chunk, y.shape[1], size)
    return y_BTHV[:, :t], state_BHVK


def product(x: jax.Array, y: jax.Array) -> jax.Array:
    """x @ y in full float32 on every device: errors in a state stay in it."""
    return jnp.matmul(x, y, precision="highest")


@jax.custom_vjp
def inverse(a: jax.Array) -> jax.Array:
    """(I - a)⁻¹ of strictly lower triangular matrices [..., C,C].

    From the inverses of blocks on the diagonal to those of blocks twice as large, until one is left; unlike a
    product of powers of `a` it does not cancel, so it keeps its precision where keys repeat.
    """
    rows, columns = np.indices(a.shape[-2:])
    x, size = jnp.eye(a.shape[-1]) + jnp.where((rows == columns + 1) & (rows % 2 == 1), a, 0.0), 2
    while size < a.shape[-1]:
        between = (rows // size % 2 == 1) & (columns // size == rows // size - 1)
        x = x + product(product(x, jnp.where(between, a, 0.0)), x)
        size *= 2
    return x


def _inverse_forward(a: jax.Array):
    x = inverse(a)
    return x, x


def _inverse_backward(x: jax.Array, dx: jax.Array):
    transposed = x.swapaxes(-1, -2)
    return (product(product(transposed, dx), transposed),)


inverse.defvjp(_inverse_forward, _inverse_backward)


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
