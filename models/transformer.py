"""Decoder-only transformer: pre-norm blocks, stacked along a leading layer axis and run by one scan."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.attention import Attention
from models.config import TransformerConfig
from models.layers import Keys, Params, RMSNorm, functional, matmul, rope_tables, weight
from models.mlp import SwiGLU
from models.model import Model

Cache = dict[str, Any]


class Block(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TransformerConfig, keys: Keys):
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config, keys)
        self.mlp_norm = RMSNorm(config.d_model, config.norm_eps)
        self.mlp = SwiGLU(config, keys)

    def __call__(self, x_BTD: jax.Array, tables, mask_BTS: jax.Array):
        """Output [B,T,D] and the block's keys and values."""
        attended, keys_values = self.attention(self.attention_norm(x_BTD), tables, mask_BTS)
        x_BTD = x_BTD + attended
        return x_BTD + self.mlp(self.mlp_norm(x_BTD)), keys_values

    def decode(self, x_B1D: jax.Array, tables, cache_k_BSGK, cache_v_BSGK, position_B):
        """Output [B,1,D] and the block's updated cache."""
        attended, keys_values = self.attention.decode(
            self.attention_norm(x_B1D), tables, cache_k_BSGK, cache_v_BSGK, position_B
        )
        x_B1D = x_B1D + attended
        return x_B1D + self.mlp(self.mlp_norm(x_B1D)), keys_values


class Ends(nnx.Module):
    """What comes before and after the blocks: embedding, final norm, output head."""

    def __init__(self, config: TransformerConfig, keys: Keys):
        std = config.d_model**-0.5
        # A tied table is also the head, so it has the head's scale and the lookup is scaled up to unit size.
        self.embedding = weight(
            keys, (config.vocab_size, config.d_model), std if config.tied_embeddings else 1.0
        )
        self.lookup_scale = config.d_model**0.5 if config.tied_embeddings else 1.0
        self.final_norm = RMSNorm(config.d_model, config.norm_eps)
        if not config.tied_embeddings:
            self.head = weight(keys, (config.d_model, config.vocab_size), std)
        self.tied, self.dtype = config.tied_embeddings, jnp.dtype(config.dtype)

    def embed(self, tokens_BT: jax.Array) -> jax.Array:
        return (self.embedding[...][tokens_BT] * self.lookup_scale).astype(self.dtype)

    def logits(self, x_BTD: jax.Array) -> jax.Array:
        head_DV = self.embedding[...].T if self.tied else self.head[...]
        return matmul(self.final_norm(x_BTD), head_DV.astype(self.dtype)).astype(jnp.float32)


def build(config: TransformerConfig) -> Model:
    """The network as functions of plain parameters; see `Model` for their shapes."""
    init_block, bind_block = functional(lambda keys: Block(config, keys))
    init_ends, bind_ends = functional(lambda keys: Ends(config, keys))

    def init(key: jax.Array) -> Params:
        key_ends, key_blocks = jax.random.split(key)
        blocks = jax.vmap(init_block)(jax.random.split(key_blocks, config.n_layers))
        return {"ends": init_ends(key_ends), "blocks": blocks}

    def forward(params: Params, tokens_BT: jax.Array, mask_BTS: jax.Array):
        """Final residual stream [B,T,D] and stacked keys, values [L,B,T,G,K]."""
        tables = rope_tables(jnp.arange(tokens_BT.shape[1])[None], config.d_head, config.rope_theta)

        def block(x_BTD, layer):
            return bind_block(layer)(x_BTD, tables, mask_BTS)

        block = jax.checkpoint(block) if config.remat else block
        return jax.lax.scan(block, bind_ends(params["ends"]).embed(tokens_BT), params["blocks"])

    def apply(params: Params, tokens_BT: jax.Array) -> jax.Array:
        x_BTD, _ = forward(params, tokens_BT, causal_mask(tokens_BT.shape[1]))
        return bind_ends(params["ends"]).logits(x_BTD)

    def prefill(params: Params, tokens_BT: jax.Array, lengths_B: jax.Array, max_len: int):
        x_BTD, (k, v) = forward(params, tokens_BT, causal_mask(tokens_BT.shape[1]))
        last_B1D = jnp.take_along_axis(x_BTD, (lengths_B - 1)[:, None, None], axis=1)
        # Slots past a row's length hold padding's keys; decode masks them until it overwrites them.
        room = [(0, 0), (0, 0), (0, max_len - tokens_BT.shape[1]), (0, 0), (0, 0)]
        cache = {"k": jnp.pad(k, room), "v": jnp.pad(v, room), "lengths": lengths_B}
        return bind_ends(params["ends"]).logits(last_B1D)[:, 0], cache

    def decode(params: Params, token_B: jax.Array, cache: Cache):
        ends, position_B = bind_ends(params["ends"]), cache["lengths"]
        tables = rope_tables(position_B[:, None], config.d_head, config.rope_theta)

        def block(x_B1D, layer):
            layer_params, k, v = layer
            return bind_block(layer_params).decode(x_B1D, tables, k, v, position_B)

        layers = (params["blocks"], cache["k"], cache["v"])
        x_B1D, (k, v) = jax.lax.scan(block, ends.embed(token_B[:, None]), layers)
        return ends.logits(x_B1D)[:, 0], {"k": k, "v": v, "lengths": position_B + 1}

    return Model(config, init, apply, prefill, decode)


def causal_mask(n: int) -> jax.Array:
    """[1,n,n]: query t sees keys 0…t."""
    return jnp.tril(jnp.ones((1, n, n), bool))
