"""Encoder–decoder transformer (T5, Raffel et al. 2020): the decoder also attends to the encoded source.

Attention knows distances only by a bias on its scores, learned for each bucket of distances and head; a stack
has one table, shared by its layers.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.configs.encdec import EncDecConfig, stack_config
from models.configs.transformer import TransformerConfig
from models.families import transformer
from models.layers.attention import attend, causal_mask, slot_positions, to_slots
from models.layers.linear import lookup, project, unembed
from models.layers.norms import RMSNorm
from models.layers.positions import relative_position_bucket
from models.model import Model, last_token, refuse_segments
from models.parameters import Keys, Params, functional, stacked, weight
from models.parametrization import branch_std
from models.sharding import constrain

Cache = dict[str, Any]


class Attention(nnx.Module):
    """Attention without a scale and without biases: queries of one sequence, keys and values of any."""

    def __init__(self, config: TransformerConfig, keys: Keys):
        d, h, k = config.d_model, config.n_heads, config.d_head
        # Small queries take the place of the factor 1/√K.
        self.w_q = weight(keys, (d, h, k), (d * k) ** -0.5, "embed -> heads head")
        self.w_k = weight(keys, (d, h, k), d**-0.5, "embed -> heads head")
        self.w_v = weight(keys, (d, h, k), d**-0.5, "embed -> heads head")
        self.w_o = weight(keys, (h, k, d), branch_std(config, h * k), "heads head -> embed")

    def keys_values(self, x_BSD: jax.Array) -> tuple[jax.Array, jax.Array]:
        return project(x_BSD, self.w_k), project(x_BSD, self.w_v)

    def __call__(self, x_BTD, keys_values, mask_BTS, bias_BHTS=None) -> jax.Array:
        """What each position gathers, [B,T,D]."""
        q_BTHK = constrain(project(x_BTD, self.w_q), "batch", "length", "heads", None)
        k_BSHK, v_BSHK = keys_values
        return project(attend(q_BTHK, k_BSHK, v_BSHK, mask_BTS, 1.0, bias_HTS=bias_BHTS), self.w_o)


class EncoderBlock(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TransformerConfig, keys: Keys):
        self.attention_norm = RMSNorm((config.d_model,), config.norm_eps)
        self.attention = Attention(config, keys)
        self.mlp_norm = RMSNorm((config.d_model,), config.norm_eps)
        self.mlp = transformer.feed_forward(config, keys)

    def feed_forward(self, x_BTD: jax.Array) -> jax.Array:
        return constrain(x_BTD + self.mlp(self.mlp_norm(x_BTD))[0], "batch", "length", None)

    def __call__(self, x_BSD: jax.Array, mask_B1S: jax.Array, bias_1HSS: jax.Array) -> jax.Array:
        read_BSD = self.attention_norm(x_BSD)
        x_BSD = x_BSD + self.attention(read_BSD, self.attention.keys_values(read_BSD), mask_B1S, bias_1HSS)
        return self.feed_forward(x_BSD)


class DecoderBlock(EncoderBlock):
    """An encoder's block with attention to the source before the feed-forward layer."""

    def __init__(self, config: TransformerConfig, keys: Keys):
        super().__init__(config, keys)
        self.cross_norm = RMSNorm((config.d_model,), config.norm_eps)
        self.cross = Attention(config, keys)

    def attend_source(self, x_BTD: jax.Array, source, source_mask_B1S: jax.Array) -> jax.Array:
        return x_BTD + self.cross(self.cross_norm(x_BTD), source, source_mask_B1S)

    def __call__(self, x_BTD, mask_1TT, bias_1HTT, encoded_BSD, source_mask_B1S):
        """Output [B,T,D]; keys and values of the target and of the source."""
        read_BTD = self.attention_norm(x_BTD)
        own, source = self.attention.keys_values(read_BTD), self.cross.keys_values(encoded_BSD)
        x_BTD = x_BTD + self.attention(read_BTD, own, mask_1TT, bias_1HTT)
        return self.feed_forward(self.attend_source(x_BTD, source, source_mask_B1S)), (own, source)

    def decode(self, x_B1D, seen_B1S, bias_BH1S, own, source, source_mask_B1S, position_B):
        """Output [B,1,D] of one token a row, and the block's keys and values with that token's.

        Args:
          x_B1D: the stream at the token.
          seen_B1S: bool, which slots hold the tokens up to this one.
          bias_BH1S: of the positions, added to scores.
          own: keys and values of the target so far, [B,S,H,K] each.
          source: those of the encoded source, likewise.
          source_mask_B1S: bool, which places of the source are read.
          position_B: int32, the token's slot.
        """
        read_B1D, rows = self.attention_norm(x_B1D), jnp.arange(len(x_B1D))
        new = self.attention.keys_values(read_B1D)
        own = tuple(slots.at[rows, position_B].set(each[:, 0]) for slots, each in zip(own, new))
        x_B1D = x_B1D + self.attention(read_B1D, own, seen_B1S, bias_BH1S)
        return self.feed_forward(self.attend_source(x_B1D, source, source_mask_B1S)), own


class Ends(nnx.Module):
    """What is not in a block: the embedding, the tables of distances, the final norms, the head."""

    def __init__(self, config: EncDecConfig, keys: Keys):
        v, d, n, h = config.vocab_size, config.d_model, config.n_buckets, config.n_heads
        self.embedding = weight(keys, (v, d), 1.0, "vocab -> embed")
        self.encoder_positions = weight(keys, (n, h), d**-0.5, "positions -> heads")
        self.decoder_positions = weight(keys, (n, h), d**-0.5, "positions -> heads")
        self.encoder_norm = RMSNorm((d,), config.norm_eps)
        self.decoder_norm = RMSNorm((d,), config.norm_eps)
        if not config.tied_embeddings:
            self.head = weight(keys, (d, v), d**-0.5, "embed -> vocab")
        self.config, self.dtype = config, jnp.dtype(config.dtype)

    def embed(self, tokens_BT: jax.Array) -> jax.Array:
        return lookup(self.embedding, tokens_BT, self.dtype)

    def bias(self, key_minus_query_BTS: jax.Array, bidirectional: bool) -> jax.Array:
        """What is added to the scores [B,H,T,S] of keys at these distances from their queries."""
        table_NH = (self.encoder_positions if bidirectional else self.decoder_positions)[...]
        buckets_BTS = relative_position_bucket(
            key_minus_query_BTS, bidirectional, self.config.n_buckets, self.config.max_distance
        )
        return jnp.moveaxis(table_NH[buckets_BTS], -1, 1)

    def logits(self, x: jax.Array) -> jax.Array:
        if self.config.tied_embeddings:
            logits = unembed(x * self.config.d_model**-0.5, self.embedding)
        else:
            logits = project(x, self.head)
        return logits.astype(jnp.float32)


@functools.cache
def _modules(config: EncDecConfig):
    """(init, bind, axes) of the ends, of an encoder's block and of a decoder's."""
    encoder = stack_config(config, config.n_layers)
    decoder = stack_config(config, config.n_decoder_layers)
    return (
        functional(lambda keys: Ends(config, keys)),
        functional(lambda keys: EncoderBlock(encoder, keys)),
        functional(lambda keys: DecoderBlock(decoder, keys)),
    )


def encode(
    config: EncDecConfig, params: Params, source_BS: jax.Array, source_mask_BS: jax.Array | None = None
) -> jax.Array:
    """The encoder's normalised final states [B,S,D]; those of masked tokens mean nothing.

    Args:
      params: the network's.
      source_BS: int32 tokens.
      source_mask_BS: true at real tokens; by default all are.
    """
    (_, bind_ends, _), (_, bind_block, _), _ = _modules(config)
    ends, places_S = bind_ends(params["ends"]), jnp.arange(source_BS.shape[1])
    mask_B1S = _source_mask(source_BS, source_mask_BS)
    bias_1HSS = ends.bias((places_S - places_S[:, None])[None], bidirectional=True)

    def block(x_BSD, layer):
        return bind_block(layer)(x_BSD, mask_B1S, bias_1HSS), None

    block = jax.checkpoint(block) if config.remat else block
    return ends.encoder_norm(jax.lax.scan(block, ends.embed(source_BS), params["encoder"])[0])


def _source_mask(source_BS: jax.Array, source_mask_BS: jax.Array | None) -> jax.Array:
    """[B,1,S], true at real tokens: by default all are."""
    return (jnp.ones(source_BS.shape, bool) if source_mask_BS is None else source_mask_BS.astype(bool))[
        :, None
    ]


def build(config: EncDecConfig) -> Model:
    """The network as functions of plain parameters; see `Model` for their shapes."""
    (init_ends, bind_ends, ends_axes), encoder, (init_block, bind_block, block_axes) = _modules(config)
    init_encoder, encoder_axes = stacked(encoder[0], encoder[2], config.n_layers)
    init_decoder, decoder_axes = stacked(init_block, block_axes, config.n_decoder_layers)

    def init(key: jax.Array) -> Params:
        key_ends, key_encoder, key_decoder = jax.random.split(key, 3)
        return {
            "ends": init_ends(key_ends),
            "encoder": init_encoder(key_encoder),
            "decoder": init_decoder(key_decoder),
        }

    def forward(params: Params, tokens_BT: jax.Array, source_BS: jax.Array, source_mask_BS):
        """Normalised final stream [B,T,D], stacked keys and values of target and source, source mask."""
        ends, places_T = bind_ends(params["ends"]), jnp.arange(tokens_BT.shape[1])
        encoded_BSD = encode(config, params, source_BS, source_mask_BS)
        source_mask_B1S, mask_1TT = _source_mask(source_BS, source_mask_BS), causal_mask(len(places_T))
        bias_1HTT = ends.bias((places_T - places_T[:, None])[None], bidirectional=False)

        def block(x_BTD, layer):
            return bind_block(layer)(x_BTD, mask_1TT, bias_1HTT, encoded_BSD, source_mask_B1S)

        block = jax.checkpoint(block) if config.remat else block
        x_BTD, keys_values = jax.lax.scan(block, ends.embed(tokens_BT), params["decoder"])
        return ends.decoder_norm(x_BTD), keys_values, source_mask_B1S

    def hidden(params: Params, tokens_BT, source_BS, source_mask_BS=None, segments_BT=None):
        refuse_segments(config.family, segments_BT)
        return forward(params, tokens_BT, source_BS, source_mask_BS)[0], {}

    def logits(params: Params, x: jax.Array) -> jax.Array:
        return bind_ends(params["ends"]).logits(x)

    def prefill(params: Params, tokens_BT, lengths_B, max_len: int, source_BS, source_mask_BS=None):
        x_BTD, (own, source), source_mask_B1S = forward(params, tokens_BT, source_BS, source_mask_BS)
        last_BD = last_token(x_BTD, lengths_B)
        k, v = (jax.vmap(to_slots, in_axes=(0, None, None))(each, lengths_B, max_len) for each in own)
        cache = {
            "k": k,
            "v": v,
            "source_k": source[0],
            "source_v": source[1],
            "source_mask": source_mask_B1S[:, 0][None],
            "lengths": lengths_B,
        }
        return logits(params, last_BD), cache

    def decode(params: Params, token_B: jax.Array, cache: Cache):
        ends, position_B = bind_ends(params["ends"]), cache["lengths"]
        held_BS = slot_positions(position_B, cache["k"].shape[2])
        bias_BH1S = ends.bias((held_BS - position_B[:, None])[:, None], bidirectional=False)
        source_mask_B1S, seen_B1S = cache["source_mask"][0][:, None], (held_BS >= 0)[:, None]

        def block(x_B1D, inputs):
            layer, own, source = inputs
            return bind_block(layer).decode(
                x_B1D, seen_B1S, bias_BH1S, own, source, source_mask_B1S, position_B
            )

        own, source = (cache["k"], cache["v"]), (cache["source_k"], cache["source_v"])
        x_B1D, (k, v) = jax.lax.scan(block, ends.embed(token_B[:, None]), (params["decoder"], own, source))
        cache = cache | {"k": k, "v": v, "lengths": position_B + 1}
        return logits(params, ends.decoder_norm(x_B1D)[:, 0]), cache

    axes = {"ends": ends_axes, "encoder": encoder_axes, "decoder": decoder_axes}
    return Model(config, init, hidden, logits, prefill, decode, axes, has_encoder=True)
