"""Decoders whose layers keep a state of constant size: one scan over the blocks, and what is around it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models.configs.model_config import ModelConfig
from models.layers import segments
from models.layers.linear import lookup, project, unembed
from models.layers.norms import LayerNorm
from models.model import Model, last_token
from models.parameters import Keys, Params, functional, stacked, weight
from models.parametrization import head_std, logit_scale

State = dict[str, jax.Array]


class Ends(nnx.Module):
    """What comes before and after the blocks: embedding, a norm at each end, output head."""

    def __init__(self, config: ModelConfig, keys: Keys, norm_eps: float, tied: bool):
        v, d = config.vocab_size, config.d_model
        # The norm lifts an untied table to any size; started small, it forgets its random values within a
        # few steps.
        self.embedding = weight(keys, (v, d), head_std(config) if tied else 1e-4, "vocab -> embed")
        self.embedding_norm = LayerNorm(d, norm_eps)
        self.final_norm = LayerNorm(d, norm_eps)
        self.head = None if tied else weight(keys, (d, v), head_std(config), "embed -> vocab")
        self.logit_scale, self.dtype = logit_scale(config), jnp.dtype(config.dtype)

    def embed(self, tokens: jax.Array) -> jax.Array:
        return self.embedding_norm(lookup(self.embedding, tokens, jnp.float32)).astype(self.dtype)

    def logits(self, x: jax.Array) -> jax.Array:
        x = x if self.logit_scale == 1 else x * self.logit_scale
        logits = unembed(x, self.embedding) if self.head is None else project(x, self.head)
        return logits.astype(jnp.float32)


def recurrent(
    config: ModelConfig, kind: type, enter: Callable, *, norm_eps: float, tied_embeddings: bool = False
) -> Model:
    """Blocks with a state between `Ends`; see `Model` for the shapes of its functions.

    Args:
      kind: the block's class, called with (config, keys, the layer's number).
      enter: from x [B,T,D] or [B,D] the stream into the first block: a tuple that begins with x.
      norm_eps: of the norms at both ends.
      tied_embeddings: whether the embedding is the output head as well.
    """
    init_block, bind_block, block_axes = functional(lambda keys, *layer: kind(config, keys, *layer))
    init_blocks, blocks_axes = stacked(init_block, block_axes, config.n_layers, np.arange(config.n_layers))
    init_ends, bind_ends, ends_axes = functional(lambda keys: Ends(config, keys, norm_eps, tied_embeddings))

    def init(key: jax.Array) -> Params:
        key_ends, key_blocks = jax.random.split(key)
        return {"ends": init_ends(key_ends), "blocks": init_blocks(key_blocks)}

    def forward(params: Params, tokens_BT, lengths_B: jax.Array | None, segments_BT: jax.Array | None):
        """Normalised final stream [B,T,D] and the states of all layers after `lengths` tokens, if given."""
        first_BT = None if segments_BT is None else segments.starts(segments_BT)

        def block(stream, layer):
            return bind_block(layer)(stream, lengths_B, first_BT)

        block = jax.checkpoint(block) if config.remat else block
        ends = bind_ends(params["ends"])
        (x_BTD, *_), states = jax.lax.scan(block, enter(ends.embed(tokens_BT)), params["blocks"])
        return ends.final_norm(x_BTD), states

    def hidden(params: Params, tokens_BT: jax.Array, segments_BT: jax.Array | None = None):
        return forward(params, tokens_BT, None, segments_BT)[0], {}

    def logits(params: Params, x: jax.Array) -> jax.Array:
        return bind_ends(params["ends"]).logits(x)

    def prefill(params: Params, tokens_BT: jax.Array, lengths_B: jax.Array, max_len: int):
        del max_len  # the state has room for any length
        x_BTD, states = forward(params, tokens_BT, lengths_B, None)
        return logits(params, last_token(x_BTD, lengths_B)), states

    def decode(params: Params, token_B: jax.Array, cache: State):
        def block(stream, layer_and_state):
            layer, state = layer_and_state
            return bind_block(layer).decode(stream, state)

        ends = bind_ends(params["ends"])
        x_BD = ends.embed(token_B[:, None])[:, 0]
        (x_BD, *_), cache = jax.lax.scan(block, enter(x_BD), (params["blocks"], cache))
        return logits(params, ends.final_norm(x_BD)), cache

    return Model(config, init, hidden, logits, prefill, decode, {"ends": ends_axes, "blocks": blocks_axes})


def shifted(x_BTD: jax.Array, first_BT: jax.Array | None = None) -> jax.Array:
    """x one token earlier; zeros before the first of a row, and of a text if `first` says where these are."""
    before_BTD = jnp.pad(x_BTD[:, :-1], ((0, 0), (1, 0), (0, 0)))
    return before_BTD if first_BT is None else jnp.where(first_BT[..., None], 0, before_BTD)
