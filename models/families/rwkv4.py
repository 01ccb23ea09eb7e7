"""RWKV-4: each channel averages the past with weights that decay, in parallel or as a recurrence.

What a layer keeps of the past is a few vectors, however long it was: what each of its two halves read last,
and of the average the weighted sum of values, the sum of weights and the log of the scale of both.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.config import RWKV4Config
from models.counting import Counts, Part, itemsize
from models.layers.linear import Keys, LayerNorm, constant, last, project, weight
from models.families.recurrent import State, recurrent, shifted
from models.model import Model
from models.parametrization import branch_scale
from models.sharding import constrain

NOTHING = -1e38  # log-weight of no token at all; finite, so that differences of two are numbers
CHUNK = 32  # tokens that one step of the parallel form moves past; √T is best, and the optimum is flat


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

    def __call__(self, x_BTD: jax.Array, lengths_B: jax.Array | None):
        """Output [B,T,D], and the average's state after `lengths` tokens, if given."""
        r, k, v = self.gates_keys_values(x_BTD, shifted(x_BTD))
        k, decay_A = constrain(k, "batch", "length", "heads"), jnp.exp(self.log_decay[...])
        y_BTA = wkv(k, v, decay_A, self.bonus[...]).astype(x_BTD.dtype)
        state = {} if lengths_B is None else wkv_state(k, v, decay_A, lengths_B)
        return project(r * y_BTA, self.w_o), state

    def decode(self, x_BD: jax.Array, before_BD: jax.Array, state: State):
        """One token a row: output [B,D] and the average's state after it."""
        r, k, v = self.gates_keys_values(x_BD, before_BD)
        past = ((state["sum"], state["weight"]), state["log_scale"])
        (total, weights), _ = add(past, ((v, jnp.ones_like(v)), k + self.bonus[...]))
        (sums, weight), log_scale = add(later(past, jnp.exp(self.log_decay[...])), ((v, jnp.ones_like(v)), k))
        out_BD = project(r * (total / weights).astype(x_BD.dtype), self.w_o)
        return out_BD, {"sum": sums, "weight": weight, "log_scale": log_scale}


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
        self.branch_scale = branch_scale(config)

    def __call__(self, stream: tuple, lengths_B: jax.Array | None):
        """The stream (x [B,T,D],) after the block, and the block's state after `lengths` tokens, if given."""
        (x_BTD,) = stream
        read_BTD = self.time_norm(x_BTD)
        mixed_BTD, state = self.time_mix(read_BTD, lengths_B)
        x_BTD = constrain(x_BTD + self.branch_scale * mixed_BTD, "batch", "length", None)
        feed_BTD = self.channel_norm(x_BTD)
        mixed_BTD = self.channel_mix(feed_BTD, shifted(feed_BTD))
        x_BTD = constrain(x_BTD + self.branch_scale * mixed_BTD, "batch", "length", None)
        if lengths_B is not None:
            state |= {"time_x": last(read_BTD, lengths_B), "channel_x": last(feed_BTD, lengths_B)}
        return (x_BTD,), state

    def decode(self, stream: tuple, state: State):
        """The stream (x [B,D],) of one more token, and the state after it."""
        (x_BD,) = stream
        read_BD = self.time_norm(x_BD)
        mixed_BD, new = self.time_mix.decode(read_BD, state["time_x"], state)
        x_BD = x_BD + self.branch_scale * mixed_BD
        feed_BD = self.channel_norm(x_BD)
        x_BD = x_BD + self.branch_scale * self.channel_mix(feed_BD, state["channel_x"])
        return (x_BD,), new | {"time_x": read_BD, "channel_x": feed_BD}


def build(config: RWKV4Config) -> Model:
    """The network as functions of plain parameters; see `Model` for their shapes."""
    return recurrent(config, Block, lambda x: (x,))


def mix(x: jax.Array, before: jax.Array, share: nnx.Param) -> jax.Array:
    """Channel by channel, `share` of x and the rest of what was before."""
    return before + (x - before) * share[...].astype(x.dtype)


# --- wkv ----------------------------------------------------------------------------------------------------
# Sums of terms exp(k)·v are kept as (sums, log): the true sums are sums · exp(log), and log is the largest k
# among the terms, so nothing overflows and the largest term is never lost.


def add(one: tuple, other: tuple) -> tuple:
    """The sum of two scaled sums (tuple of arrays, log)."""
    ahead = one[1] - other[1]
    smaller = jnp.exp(-jnp.abs(ahead))  # of two scales, one is 1
    scale, other_scale = jnp.where(ahead > 0, 1.0, smaller), jnp.where(ahead > 0, smaller, 1.0)
    sums = tuple(scale * a + other_scale * b for a, b in zip(one[0], other[0]))
    return sums, jnp.maximum(one[1], other[1])


def later(past: tuple, decay: jax.Array) -> tuple:
    """A scaled sum one decay later."""
    return past[0], past[1] - decay


@jax.custom_vjp
def wkv(k_BTA: jax.Array, v_BTA: jax.Array, decay_A: jax.Array, bonus_A: jax.Array) -> jax.Array:
    """Average [B,T,A] of the values up to each token, all float32.

    A value i ≥ 1 tokens back weighs exp(k - (i-1)·decay), that of the token itself exp(k + bonus).
    The gradient is written out: it is such a decaying sum again, from the end, and no step keeps anything.
    """
    return _wkv_forward(k_BTA, v_BTA, decay_A, bonus_A)[0]


def _wkv_forward(k, v, decay, bonus):
    past = decaying_sums(k, (v, jnp.ones_like(v)), decay)
    (total, weight), log = add(past, ((v, jnp.ones_like(v)), k + bonus))
    y = total / weight
    return y, (k, v, decay, bonus, past, y, weight, log)


def _wkv_backward(saved, dy):
    k, v, decay, bonus, ((past_v, past_1), past_log), y, weight, log = saved
    # Of the quotient's two sums: as the sums are to be scaled by exp(log), their gradients by exp(-log).
    d_total, d_weight = dy / weight, -dy * y / weight
    (after_v, after_1), after_log = decaying_sums(-log, (d_total, d_weight), decay, reverse=True)
    from_later, from_own = jnp.exp(k + after_log), jnp.exp(k + bonus - log)
    d_bonus = from_own * (d_total * v + d_weight)
    dv = from_later * after_v + from_own * d_total
    dk = from_later * (after_v * v + after_1) + d_bonus
    decayed = jnp.exp(past_log - decay + after_log)
    d_decay = -decayed * (past_v * after_v + past_1 * after_1)
    return dk, dv, d_decay.sum(axis=(0, 1)), d_bonus.sum(axis=(0, 1))


wkv.defvjp(_wkv_forward, _wkv_backward)


@functools.partial(jax.jit, static_argnames="reverse")
def decaying_sums(k_BTA: jax.Array, values: tuple, decay_A: jax.Array, reverse: bool = False) -> tuple:
    """For every token the scaled sum of what came before it (after it, in reverse).

    A value i ≥ 1 tokens away weighs exp(k - (i-1)·decay). All chunks are walked through at once, then their
    totals in a row: T/CHUNK + CHUNK steps instead of T.
    """
    b, t, a = k_BTA.shape
    n = -(-t // CHUNK)

    def chunks(x_BTA: jax.Array, fill: float) -> jax.Array:
        padded = jnp.pad(x_BTA, ((0, 0), (0, n * CHUNK - t), (0, 0)), constant_values=fill)
        return padded.reshape(b, n, CHUNK, a).transpose(2, 1, 0, 3)

    def walk(tokens: tuple, decay: jax.Array) -> tuple:
        """Sums of all steps along the first axis, and those before each."""

        def step(past, token):
            return add(later(past, decay), token), past

        nothing = (
            jax.tree.map(lambda x: jnp.zeros_like(x[0]), tokens[0]),
            jnp.full_like(tokens[1][0], NOTHING),
        )
        return jax.lax.scan(step, nothing, tokens, reverse=reverse)

    tokens = tuple(chunks(value, 0.0) for value in values), chunks(k_BTA, NOTHING)
    totals, within = walk(tokens, decay_A)
    _, (sums, log) = walk(totals, decay_A * CHUNK)
    passed_C = jnp.arange(CHUNK)[:: -1 if reverse else 1]
    log = log - passed_C[:, None, None, None] * decay_A
    sums, log = add(within, (sums, log))

    def unchunked(x: jax.Array) -> jax.Array:
        return x.transpose(2, 1, 0, 3).reshape(b, n * CHUNK, a)[:, :t]

    return tuple(unchunked(x) for x in sums), unchunked(log)


def wkv_state(k_BTA: jax.Array, v_BTA: jax.Array, decay_A: jax.Array, lengths_B: jax.Array) -> State:
    """What the recurrence has summed up after each row's `lengths` tokens."""
    ages_BT1 = (lengths_B[:, None] - 1 - jnp.arange(k_BTA.shape[1]))[..., None]
    log_BTA = jnp.where(ages_BT1 >= 0, k_BTA - ages_BT1 * decay_A, NOTHING)
    log_scale_BA = log_BTA.max(axis=1)
    weights_BTA = jnp.exp(log_BTA - log_scale_BA[:, None])
    sums_BA = (weights_BTA * v_BTA).sum(axis=1)
    return {"sum": sums_BA, "weight": weights_BTA.sum(axis=1), "log_scale": log_scale_BA}


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
