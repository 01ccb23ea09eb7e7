"""Decoder-only transformer: blocks stacked along a leading layer axis and run by one scan."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.configs.transformer import BLOCKS, DENSE, LayerKind, TransformerConfig
from models.families.layer_scan import out_of, rows_in_stacks, scan_layers
from models.layers import segments
from models.layers.attention import Attention, LatentAttention, causal_mask, in_parts, softcap, to_slots
from models.layers.int8 import int8_matrix, int8_table
from models.layers.linear import lookup, packed, project, unembed
from models.layers.mlp import MLP
from models.layers.norms import norm
from models.layers.positions import rope_tables, sinusoids
from models.model import Aux, Model, last_token
from models.parameters import Keys, Params, functional, stacked, weight
from models.parametrization import (
    attention_scale,
    branch_scale,
    branch_std,
    head_std,
    logit_scale,
    narrow_std,
)
from models.quantization import quantised
from models.sharding import constrain

Cache = dict[str, Any]


def attention(config: TransformerConfig, keys: Keys) -> Attention | LatentAttention:
    """One layer's attention."""
    if config.latent:
        return LatentAttention(
            *(keys, config.d_model, config.n_heads, config.d_head, config.latent),
            scale=attention_scale(config),
            output_std=branch_std(config, config.n_heads * config.latent.d_value),
            narrow_std=narrow_std(config),
        )
    return Attention(
        *(keys, config.d_model, config.n_heads, config.n_kv_heads, config.d_head),
        scale=attention_scale(config),
        output_std=branch_std(config, config.n_heads * config.d_head),
        qkv_bias=config.qkv_bias,
        output_bias=config.output_bias,
        qk_norm=config.qk_norm,
        norm_eps=config.norm_eps,
        cap=config.attention_softcap,
        sinks=config.sinks,
    )


def feed_forward(config: TransformerConfig, keys: Keys) -> MLP:
    """One layer's feed-forward layer."""
    return MLP(
        *(keys, config.d_model, config.d_ff),
        output_std=branch_std(config, config.d_ff),
        gated=config.gated,
        bias=config.mlp_bias,
        activation=config.activation,
    )


class Block(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); the norms stand before, after or around the branches."""

    def __init__(self, config: TransformerConfig, keys: Keys, make_mlp: Callable):
        def norm_at(place: str):
            used = config.norm_position in (place, "both")
            return norm(config.norm, config.d_model, config.norm_eps) if used else None

        self.attention_norm, self.mlp_norm = norm_at("pre"), norm_at("pre")
        self.attention_out_norm, self.mlp_out_norm = norm_at("post"), norm_at("post")
        self.attention = attention(config, keys)
        self.mlp = make_mlp(config, keys)
        self.branch_scale = branch_scale(config)

    def add(self, x_BTD, branch_BTD, out_norm) -> jax.Array:
        branch_BTD = branch_BTD if out_norm is None else out_norm(branch_BTD)
        branch_BTD = branch_BTD if self.branch_scale == 1 else branch_BTD * self.branch_scale
        return constrain(x_BTD + branch_BTD, "batch", "length", None)

    def feed_forward(self, x_BTD, exact: bool) -> tuple[jax.Array, Aux]:
        out_BTD, aux = self.mlp(x_BTD if self.mlp_norm is None else self.mlp_norm(x_BTD), exact)
        return self.add(x_BTD, out_BTD, self.mlp_out_norm), aux

    def __call__(self, x_BTD: jax.Array, tables, mask_BTS: jax.Array, window: int | None, exact: bool):
        """Output [B,T,D], the block's keys and values, and its auxiliary losses."""
        read_BTD = x_BTD if self.attention_norm is None else self.attention_norm(x_BTD)
        attended, keys_values = self.attention(read_BTD, tables, mask_BTS, window)
        x_BTD, aux = self.feed_forward(self.add(x_BTD, attended, self.attention_out_norm), exact)
        return x_BTD, (keys_values, aux)

    def decode(self, x_B1D: jax.Array, tables, cache, position_B):
        """Output [B,1,D] and the block's updated cache.

        Args:
          x_B1D: the stream at the token.
          tables: of the positions, as the attention takes them.
          cache: the block's keys and values, in parts.
          position_B: int32, the token's position.
        """
        read_B1D = x_B1D if self.attention_norm is None else self.attention_norm(x_B1D)
        attended, cache = self.attention.decode(read_B1D, tables, cache, position_B)
        x_B1D, _ = self.feed_forward(self.add(x_B1D, attended, self.attention_out_norm), exact=True)
        return x_B1D, cache


class Ends(nnx.Module):
    """What comes before and after the blocks: embedding, positions, final norm, output head."""

    def __init__(self, config: TransformerConfig, keys: Keys):
        v, d = config.vocab_size, config.d_model
        # A tied table is also the head and has its scale; `embedding_scale` can lift the lookup to unit size.
        self.embedding = weight(
            keys, (v, d), head_std(config) if config.tied_embeddings else 1.0, "vocab -> embed"
        )
        if config.positions == "learned":
            self.position = weight(keys, (config.max_len, d), 0.02, "positions -> embed")
        self.final_norm = norm(config.norm, d, config.norm_eps)
        if not config.tied_embeddings:
            self.head = weight(keys, (d, v), head_std(config), "embed -> vocab")
        self.config, self.dtype = config, jnp.dtype(config.dtype)

    def embed(self, tokens_BT: jax.Array, positions_BT: jax.Array) -> jax.Array:
        # The product in the compute type rounds the scale to it, as Gemma 2 was trained.
        x_BTD = lookup(self.embedding, tokens_BT, self.dtype) * self.config.embedding_scale
        if self.config.positions == "learned":
            x_BTD = x_BTD + self.position[...][positions_BT]
        if self.config.positions == "sinusoidal":
            x_BTD = x_BTD + sinusoids(positions_BT, self.config.d_model)
        return constrain(x_BTD.astype(self.dtype), "batch", "length", None)

    def logits(self, x: jax.Array) -> jax.Array:
        scaled = x if logit_scale(self.config) == 1 else x * logit_scale(self.config)
        if self.config.tied_embeddings:
            logits = unembed(scaled, self.embedding)
        else:
            logits = project(scaled, self.head)
        return softcap(logits.astype(jnp.float32), self.config.logit_softcap)


def build(config: TransformerConfig, make_mlp: Callable = feed_forward) -> Model:
    """The network as functions of plain parameters; see `Model` for their shapes.

    `make_mlp(config, keys)` is the constructor of a layer that takes the place of the feed-forward layer.
    """
    kinds, rows = config.kinds(), rows_in_stacks(config.kinds())
    makers = {BLOCKS: make_mlp, DENSE: feed_forward}
    n_layers = {stack: [kind.stack for kind in kinds].count(stack) for stack in makers}
    init_stack, bind_block, block_axes, axes = {}, {}, {}, {}
    for stack in (each for each, n in n_layers.items() if n):
        init_block, bind_block[stack], block_axes[stack] = functional(
            lambda keys, make=makers[stack]: Block(config, keys, make)
        )
        init_stack[stack], axes[stack] = stacked(init_block, block_axes[stack], n_layers[stack])
    init_ends, bind_ends, ends_axes = functional(lambda keys: Ends(config, keys))

    def init(key: jax.Array) -> Params:
        key_ends, key_blocks = jax.random.split(key)
        keys = {BLOCKS: key_blocks, DENSE: jax.random.fold_in(key_blocks, 1)}
        return {"ends": init_ends(key_ends)} | {name: each(keys[name]) for name, each in init_stack.items()}

    def tables(positions_BT: jax.Array):
        """By kind of rope, what rotates queries and keys."""
        ropes = dict.fromkeys(kind.rope for kind in kinds)
        return {rope: rope and rope_tables(positions_BT, config.d_rope, *rope) for rope in ropes}

    def forward(params: Params, tokens_BT: jax.Array, exact: bool, segments_BT: jax.Array | None = None):
        """Normalised final stream [B,T,D]; of every group of layers, keys and values and losses."""
        ends, positions_BT = bind_ends(params["ends"]), jnp.arange(tokens_BT.shape[1])[None]
        masks = {window: causal_mask(tokens_BT.shape[1], window) for window in dict.fromkeys(config.windows)}
        if segments_BT is not None:
            positions_BT = segments.positions(segments_BT)
            masks = {window: mask & segments.same_text(segments_BT) for window, mask in masks.items()}
        tables_BT = tables(positions_BT)

        def block(kind: LayerKind, x_BTD, layer):
            only_causal = kind.window if segments_BT is None else None
            bound = bind_block[kind.stack](quantised(block_axes[kind.stack], layer, config.weight_bits))
            return bound(x_BTD, tables_BT[kind.rope], masks[kind.window], only_causal, exact)

        block = jax.checkpoint(block, static_argnums=0) if config.remat else block
        x_BTD = ends.embed(tokens_BT, positions_BT)
        x_BTD, outs = scan_layers(block, x_BTD, params, kinds)
        return ends.final_norm(x_BTD), outs

    def hidden(params: Params, tokens_BT: jax.Array, segments_BT: jax.Array | None = None):
        # Experts with room for some of a row's tokens would let one text displace another's: all are served.
        x_BTD, outs = forward(params, tokens_BT, segments_BT is not None, segments_BT)
        return x_BTD, merge_aux([aux for _, aux in outs])

    def logits(params: Params, x: jax.Array) -> jax.Array:
        return bind_ends(params["ends"]).logits(x)

    def prefill(params: Params, tokens_BT: jax.Array, lengths_B: jax.Array, max_len: int):
        x_BTD, outs = forward(params, tokens_BT, exact=True)
        last_BD = last_token(x_BTD, lengths_B)
        cache: Cache = {"k": [], "v": [], "lengths": lengths_B}
        for i, kind in enumerate(kinds):
            n_slots = min(max_len, kind.window or max_len)
            for name, kv_BTGK in zip("kv", out_of([keys_values for keys_values, _ in outs], kinds, i)):
                slots_BSGK = to_slots(kv_BTGK, lengths_B, n_slots)
                cache[name].append([part[None] for part in in_parts(slots_BSGK)])
        return logits(params, last_BD), cache

    def apart(params: Params, form: Callable) -> Params:
        """The layers one by one, and the head: form(axes, leaf) of each of their leaves."""
        blocks = []
        for kind, row in zip(kinds, rows):
            layer = jax.tree.map(lambda leaf, row=row: leaf[row], params[kind.stack])
            of_block = block_axes[kind.stack]
            blocks.append(jax.tree.map(form, of_block, quantised(of_block, layer, config.weight_bits)))
        head = {name: form(ends_axes[name], params["ends"][name]) for name in ends_axes if name == "head"}
        return {"blocks": blocks, "head": head}

    def pack(params: Params, int8: bool = False) -> Params:
        if not int8:
            return apart(params, packed)
        if config.experts or config.latent:
            without = "experts" if config.experts else "latents"
            raise ValueError(f"int8 weights: this network has {without}; only ones without decode with them")
        layers = apart(params, int8_matrix)
        if config.tied_embeddings:
            layers["head"] = {"embedding": int8_table(params["ends"]["embedding"])}
        return layers

    def decode(params: Params, token_B: jax.Array, cache: Cache):
        layers = params.get("packed") or apart(params, lambda axes, leaf: leaf)
        ends, position_B = bind_ends(params["ends"] | layers["head"]), cache["lengths"]
        tables_B1 = tables(position_B[:, None])

        x_B1D, slots = ends.embed(token_B[:, None], position_B[:, None]), {"k": [], "v": []}
        # Unrolled, so that each layer's slots are arrays of their own, written in place and never copied.
        for kind, layer, k, v in zip(kinds, layers["blocks"], cache["k"], cache["v"]):
            own = [[part[0] for part in parts] for parts in (k, v)]
            x_B1D, own = bind_block[kind.stack](layer).decode(x_B1D, tables_B1[kind.rope], own, position_B)
            for name, parts in zip("kv", own):
                slots[name].append([part[None] for part in parts])
        cache = slots | {"lengths": position_B + 1}
        return logits(params, ends.final_norm(x_B1D)[:, 0]), cache

    return Model(config, init, hidden, logits, prefill, decode, {"ends": ends_axes} | axes, pack=pack)


def merge_aux(per_group: list[Aux]) -> Aux:
    """Auxiliary scalars of all layers that have some as one: losses are summed, measurements averaged."""
    found = [aux for aux in per_group if aux] or [{}]
    merged = {name: jnp.concatenate([aux[name] for aux in found]) for name in found[0]}
    return {name: each.sum() if name == "loss" else each.mean() for name, each in merged.items()}
