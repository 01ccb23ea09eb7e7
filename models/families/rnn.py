"""Recurrent sequence-to-sequence networks: the last hidden states of an encoder start a decoder.

After Sutskever et al. 2014 and Cho et al. 2014; with attention the decoder also reads all states of the
encoder (Luong et al. 2015).

Encoder and decoder are stacks of GRUs or LSTMs, each layer adding its state to what it reads (Wu et al.
2016). Attention is Luong's: scores hᵀWs ("general") of the decoder's top stream h against the encoder's s,
and a combining layer tanh(W_c context + W_o h). As the context is not fed back into the recurrence, all
target tokens attend at once. Streams are time-major inside: x_TBD.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.configs.rnn import RNNConfig
from models.layers.attention import softmax
from models.layers.cells import CELLS, State, recur
from models.layers.linear import lookup, project
from models.model import Model, last_token, refuse_segments
from models.parameters import Keys, Params, constant, functional, stacked, weight
from models.sharding import constrain


class Layer(nnx.Module):
    """x + the hidden states of a GRU or an LSTM that reads x."""

    def __init__(self, config: RNNConfig, keys: Keys):
        d, (self.cell, n_gates, _) = config.d_model, CELLS[config.cell]
        self.w_x = weight(keys, (d, n_gates * d), d**-0.5, "embed -> mlp")
        self.w_h = weight(keys, (d, n_gates * d), d**-0.5, "embed -> mlp")
        bias = jnp.zeros((n_gates, d))
        # A forget gate that starts open lets gradients through (Jozefowicz et al. 2015).
        bias = bias.at[1].set(1.0) if config.cell == "lstm" else bias
        self.bias = constant(bias.reshape(-1), (n_gates * d,), "-> mlp")

    def __call__(self, x_TBD: jax.Array, mask_TB: jax.Array, state: State) -> tuple[jax.Array, State]:
        """Output [T,B,D] and the state after each row's last token that the mask lets through."""
        # The input's share of the gates, for all steps in one product; steps may not lie on several devices.
        x_gates_TBG = constrain(project(x_TBD, self.w_x, self.bias), None, "batch", None)
        states: Any = recur(self.cell, state, x_gates_TBG, mask_TB, self.w_h[...])
        x_TBD = constrain(x_TBD + states[0].astype(x_TBD.dtype), "length", "batch", None)
        return x_TBD, tuple(each[-1] for each in states)


class Ends(nnx.Module):
    """What is not recurrent: one embedding for both sides, attention, combining layer, head."""

    def __init__(self, config: RNNConfig, keys: Keys):
        v, d = config.vocab_size, config.d_model
        self.embedding = weight(keys, (v, d), 1.0, "vocab -> embed")
        self.w_out = weight(keys, (d, d), d**-0.5, "embed -> embed")
        if config.attention:
            self.w_score = weight(keys, (d, d), 1 / d, "embed -> embed")
            self.w_context = weight(keys, (d, d), d**-0.5, "embed -> embed")
        self.head = weight(keys, (d, v), d**-0.5, "embed -> vocab")
        self.dtype = jnp.dtype(config.dtype)

    def embed(self, tokens_BT: jax.Array) -> jax.Array:
        """Stream [T,B,D]."""
        return lookup(self.embedding, tokens_BT, self.dtype).swapaxes(0, 1)

    def align(self, x_BTD: jax.Array, source_BSD: jax.Array, mask_BS: jax.Array) -> jax.Array:
        """How much each target token attends to each token of the source: weights [B,T,S], float32."""
        scores_BTS = project(x_BTD, self.w_score) @ source_BSD.swapaxes(1, 2)
        return softmax(scores_BTS.astype(jnp.float32), mask_BS[:, None])

    def combine(self, x_BTD: jax.Array, memory: tuple[jax.Array, jax.Array] | None) -> jax.Array:
        """What the head reads [B,T,D], between -1 and 1; the memory is the source's stream and its mask."""
        combined_BTD = project(x_BTD, self.w_out)
        if memory is not None:
            source_BSD, _ = memory
            context_BTD = self.align(x_BTD, *memory).astype(x_BTD.dtype) @ source_BSD
            combined_BTD = combined_BTD + project(context_BTD, self.w_context)
        return jnp.tanh(combined_BTD)


@functools.cache
def _modules(config: RNNConfig):
    """(init, bind, axes) of the ends and of one layer."""
    return functional(lambda keys: Ends(config, keys)), functional(lambda keys: Layer(config, keys))


def _run(config: RNNConfig, layers: Params, x_TBD: jax.Array, mask_BT: jax.Array, states: State):
    """Stream [T,B,D] and last states [L,B,D] of a stack that starts from such states."""
    _, (_, bind_layer, _) = _modules(config)

    def layer(x_TBD, inputs):
        params, state = inputs
        return bind_layer(params)(x_TBD, mask_BT.T, state)

    layer = jax.checkpoint(layer) if config.remat else layer
    return jax.lax.scan(layer, x_TBD, (layers, states))


def _encode(config: RNNConfig, params: Params, source_BS: jax.Array, source_mask_BS: jax.Array | None):
    """The encoder's stream [B,S,D] with its mask [B,S], and its last states [L,B,D].

    A row's states are those at its last real token: padding is on the right.
    """
    (_, bind_ends, _), _ = _modules(config)
    if source_mask_BS is None:
        padded = config.pad_id is not None
        mask_BS = source_BS != config.pad_id if padded else jnp.ones(source_BS.shape, bool)
    else:
        mask_BS = source_mask_BS.astype(bool)
    nothing = jnp.zeros((config.n_layers, len(source_BS), config.d_model), jnp.float32)
    states = (nothing,) * CELLS[config.cell][2]
    x_SBD = bind_ends(params["ends"]).embed(source_BS)
    x_SBD, states = _run(config, params["encoder"], x_SBD, mask_BS, states)
    return (x_SBD.swapaxes(0, 1), mask_BS), states


def alignments(
    config: RNNConfig,
    params: Params,
    tokens_BT: jax.Array,
    source_BS: jax.Array,
    source_mask_BS: jax.Array | None = None,
) -> jax.Array:
    """How much each target token attends to each token of the source: weights [B,T,S], float32.

    Args:
      params: the network's.
      tokens_BT, source_BS: int32 tokens of target and source.
      source_mask_BS: true at real tokens of the source; by default all are.

    Raises:
      ValueError: the network has no attention.
    """
    if not config.attention:
        raise ValueError("model: attention=False; only a network with attention aligns target and source")
    ends = _modules(config)[0][1](params["ends"])
    memory, states = _encode(config, params, source_BS, source_mask_BS)
    everything_BT = jnp.ones(tokens_BT.shape, bool)
    x_TBD, _ = _run(config, params["decoder"], ends.embed(tokens_BT), everything_BT, states)
    return ends.align(x_TBD.swapaxes(0, 1), *memory)


def build(config: RNNConfig) -> Model:
    """The network as functions of plain parameters; see `Model` for their shapes."""
    (init_ends, bind_ends, ends_axes), (init_layer, _, layer_axes) = _modules(config)
    init_stack, stack_axes = stacked(init_layer, layer_axes, config.n_layers)

    def init(key: jax.Array) -> Params:
        key_ends, key_encoder, key_decoder = jax.random.split(key, 3)
        return {
            "ends": init_ends(key_ends),
            "encoder": init_stack(key_encoder),
            "decoder": init_stack(key_decoder),
        }

    def decoder(params: Params, tokens_BT: jax.Array, mask_BT, memory, states: State):
        """What the head reads [B,T,D], and the last states [L,B,D]."""
        ends = bind_ends(params["ends"])
        x_TBD, states = _run(config, params["decoder"], ends.embed(tokens_BT), mask_BT, states)
        return ends.combine(x_TBD.swapaxes(0, 1), memory if config.attention else None), states

    def hidden(params: Params, tokens_BT, source_BS, source_mask_BS=None, segments_BT=None):
        refuse_segments(config.family, segments_BT)
        memory, states = _encode(config, params, source_BS, source_mask_BS)
        return decoder(params, tokens_BT, jnp.ones(tokens_BT.shape, bool), memory, states)[0], {}

    def logits(params: Params, x: jax.Array) -> jax.Array:
        return project(x, bind_ends(params["ends"]).head).astype(jnp.float32)

    def prefill(params: Params, tokens_BT, lengths_B, max_len: int, source_BS, source_mask_BS=None):
        # The state has one size whatever `max_len`; padding does not touch it.
        memory, states = _encode(config, params, source_BS, source_mask_BS)
        mask_BT = jnp.arange(tokens_BT.shape[1]) < lengths_B[:, None]
        x_BTD, states = decoder(params, tokens_BT, mask_BT, memory, states)
        last_BD = last_token(x_BTD, lengths_B)
        source = {"source": memory[0][None], "source_mask": memory[1][None]} if config.attention else {}
        return logits(params, last_BD), {"states": states} | source

    def decode(params: Params, token_B: jax.Array, cache: dict[str, Any]):
        memory = (cache["source"][0], cache["source_mask"][0]) if config.attention else None
        mask_B1 = jnp.ones((len(token_B), 1), bool)
        x_B1D, states = decoder(params, token_B[:, None], mask_B1, memory, cache["states"])
        return logits(params, x_B1D[:, 0]), cache | {"states": states}

    axes = {"ends": ends_axes, "encoder": stack_axes, "decoder": stack_axes}
    return Model(config, init, hidden, logits, prefill, decode, axes, has_encoder=True)
