"""Decoder-only transformer: blocks stacked along a leading layer axis and run by one scan."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models.config import TransformerConfig
from models.counting import Counts, Part, attention_part, itemsize, mlp_part
from models.layers.attention import Attention, causal_mask, in_parts, to_slots
from models.layers.linear import (
    Keys,
    Params,
    functional,
    last,
    norm,
    packed,
    project,
    softcap,
    stacked,
    unembed,
    weight,
)
from models.layers.mlp import MLP
from models.layers.positions import rope_tables, sinusoids
from models.model import Aux, Model
from models.parametrization import branch_scale, head_std, logit_scale
from models.sharding import constrain, lookup

Cache = dict[str, Any]


class Block(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); the norms stand before, after or around the branches."""

    def __init__(self, config: TransformerConfig, keys: Keys, feed_forward: type):
        def norm_at(place: str):
            used = config.norm_position in (place, "both")
            return norm(config.norm, config.d_model, config.norm_eps) if used else None

        self.attention_norm, self.mlp_norm = norm_at("pre"), norm_at("pre")
        self.attention_out_norm, self.mlp_out_norm = norm_at("post"), norm_at("post")
        self.attention = Attention(config, keys)
        self.mlp = feed_forward(config, keys)
        self.branch_scale = branch_scale(config)

    def add(self, x_BTD, branch_BTD, out_norm) -> jax.Array:
        branch_BTD = branch_BTD if out_norm is None else out_norm(branch_BTD)
        branch_BTD = branch_BTD if self.branch_scale == 1 else branch_BTD * self.branch_scale
        return constrain(x_BTD + branch_BTD, "batch", "length", None)

    def feed_forward(self, x_BTD, exact: bool) -> tuple[jax.Array, Aux]:
        out_BTD, aux = self.mlp(x_BTD if self.mlp_norm is None else self.mlp_norm(x_BTD), exact)
        return self.add(x_BTD, out_BTD, self.mlp_out_norm), aux

    def __call__(self, x_BTD: jax.Array, tables, mask_BTS: jax.Array, window: int, exact: bool):
        """Output [B,T,D], the block's keys and values, and its auxiliary losses."""
        read_BTD = x_BTD if self.attention_norm is None else self.attention_norm(x_BTD)
        attended, keys_values = self.attention(read_BTD, tables, mask_BTS, window)
        x_BTD, aux = self.feed_forward(self.add(x_BTD, attended, self.attention_out_norm), exact)
        return x_BTD, (keys_values, aux)

    def decode(self, x_B1D: jax.Array, tables, cache, position_B):
        """Output [B,1,D] and the block's updated cache."""
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
        x_BTD = lookup(self.embedding, tokens_BT).astype(self.dtype) * self.config.embedding_scale
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


def build(config: TransformerConfig, feed_forward: type = MLP) -> Model:
    """The network as functions of plain parameters; see `Model` for their shapes."""
    init_block, bind_block, block_axes = functional(lambda keys: Block(config, keys, feed_forward))
    init_blocks, blocks_axes = stacked(init_block, block_axes, config.n_layers)
    init_ends, bind_ends, ends_axes = functional(lambda keys: Ends(config, keys))

    def init(key: jax.Array) -> Params:
        key_ends, key_blocks = jax.random.split(key)
        return {"ends": init_ends(key_ends), "blocks": init_blocks(key_blocks)}

    def tables(positions_BT: jax.Array):
        if config.positions != "rope":
            return None
        return rope_tables(positions_BT, config.d_head, config.rope_theta, config.rope_scaling)

    def forward(params: Params, tokens_BT: jax.Array, exact: bool):
        """Normalised final stream [B,T,D]; of each kind of layer, stacked keys and values and losses."""
        ends, positions_1T = bind_ends(params["ends"]), jnp.arange(tokens_BT.shape[1])[None]
        masks = {window: causal_mask(tokens_BT.shape[1], window) for window in set(config.windows)}
        tables_1T = tables(positions_1T)

        def block(kind: int, x_BTD, layer):
            window = config.windows[kind]
            return bind_block(layer)(x_BTD, tables_1T, masks[window], window, exact)

        block = jax.checkpoint(block, static_argnums=0) if config.remat else block
        x_BTD = ends.embed(tokens_BT, positions_1T)
        x_BTD, outs = scan_layers(block, x_BTD, params["blocks"], len(config.windows))
        return ends.final_norm(x_BTD), outs

    def hidden(params: Params, tokens_BT: jax.Array):
        x_BTD, outs = forward(params, tokens_BT, exact=False)
        return x_BTD, merge_aux([aux for _, aux in outs])

    def logits(params: Params, x: jax.Array) -> jax.Array:
        return bind_ends(params["ends"]).logits(x)

    def prefill(params: Params, tokens_BT: jax.Array, lengths_B: jax.Array, max_len: int):
        x_BTD, outs = forward(params, tokens_BT, exact=True)
        last_BD = last(x_BTD, lengths_B)
        n_kinds, cache = len(config.windows), {"k": [], "v": [], "lengths": lengths_B}
        for i in range(config.n_layers):
            n_slots = min(max_len, config.windows[i % n_kinds] or max_len)
            for name, kv in zip("kv", outs[i % n_kinds][0]):
                slots_BSGK = to_slots(kv[i // n_kinds], lengths_B, n_slots)
                cache[name].append([part[None] for part in in_parts(slots_BSGK)])
        return logits(params, last_BD), cache

    def apart(params: Params, form: Callable) -> Params:
        """The layers one by one, and the head: form(axes, leaf) of each of their leaves."""
        blocks = []
        for i in range(config.n_layers):
            layer = jax.tree.map(lambda leaf, i=i: leaf[i], params["blocks"])
            blocks.append(jax.tree.map(form, block_axes, layer))
        head = {name: form(ends_axes[name], params["ends"][name]) for name in ends_axes if name == "head"}
        return {"blocks": blocks, "head": head}

    def pack(params: Params) -> Params:
        return apart(params, packed)

    def decode(params: Params, token_B: jax.Array, cache: Cache):
        layers = params.get("packed") or apart(params, lambda axes, leaf: leaf)
        ends, position_B = bind_ends(params["ends"] | layers["head"]), cache["lengths"]
        tables_B1 = tables(position_B[:, None])

        x_B1D, slots = ends.embed(token_B[:, None], position_B[:, None]), {"k": [], "v": []}
        # Unrolled, so that each layer's slots are arrays of their own, written in place and never copied.
        for layer, k, v in zip(layers["blocks"], cache["k"], cache["v"]):
            own = [[part[0] for part in parts] for parts in (k, v)]
            x_B1D, own = bind_block(layer).decode(x_B1D, tables_B1, own, position_B)
            for name, parts in zip("kv", own):
                slots[name].append([part[None] for part in parts])
        cache = slots | {"lengths": position_B + 1}
        return logits(params, ends.final_norm(x_B1D)[:, 0]), cache

    axes = {"ends": ends_axes, "blocks": blocks_axes}
    return Model(config, init, hidden, logits, prefill, decode, axes, pack=pack)


def scan_layers(block: Callable, x: jax.Array, params: Params, n_kinds: int):
    """Runs x through all layers: `block(kind, x, layer) -> (x, out)`, kinds 0 … n_kinds-1 in turn.

    `params` have a leading layer axis; the outs come back by kind, stacked. One scan runs the whole cycles
    of kinds, so the program does not grow with depth; layers of a cycle that is cut short follow it.
    """
    n_cycles, n_rest = divmod(len(jax.tree.leaves(params)[0]), n_kinds)
    n_scanned = n_cycles * n_kinds

    def at(layers: Params, i: int) -> Params:
        return jax.tree.map(lambda leaf: leaf[i], layers)

    def of_kind(kind: int) -> Params:
        return jax.tree.map(lambda leaf: leaf[kind:n_scanned:n_kinds], params)

    def cycle(x, layers):
        outs = []
        for kind in range(n_kinds):
            x, out = block(kind, x, layers[kind])
            outs.append(out)
        return x, outs

    # Apart by kind: what a layer reads is then what the scan was given, and not kept for the backward pass.
    x, outs = jax.lax.scan(cycle, x, [of_kind(kind) for kind in range(n_kinds)])
    for kind in range(n_rest):
        x, out = block(kind, x, at(params, n_scanned + kind))
        outs[kind] = jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), outs[kind], out)
    return x, outs


def merge_aux(per_kind: list[Aux]) -> Aux:
    """Auxiliary scalars of all layers as one: losses are summed, measurements averaged."""
    merged = {name: jnp.concatenate([aux[name] for aux in per_kind]) for name in per_kind[0]}
    return {name: each.sum() if name == "loss" else each.mean() for name, each in merged.items()}


def count(config: TransformerConfig) -> Counts:
    """Parameters and FLOPs by component."""
    layers, d, v = config.n_layers, config.d_model, config.vocab_size
    norms_a_layer = (4 if config.norm_position == "both" else 2) * d
    norm_width = 2 if config.norm == "layer" else 1  # scale, and bias
    n_heads = {"none": 0, "head": 2, "width": config.n_heads + config.n_kv_heads}[config.qk_norm]
    positions = config.max_len * d if config.positions == "learned" else 0
    parts = {
        "embedding": Part(v * d + positions, looked_up=positions + (0 if config.tied_embeddings else v * d)),
        "attention": attention_part(config) * layers,
        "mlp": mlp_part(config) * layers,
        "norms": Part((norms_a_layer * layers + d) * norm_width + n_heads * config.d_head * layers),
        "head": Part(0 if config.tied_embeddings else v * d, flops=2 * v * d),
    }
    # A norm after the branch needs the branch's result; what only adds it does not.
    last = Part(0, flops=-2 * d * config.d_ff * layers if config.norm_position == "pre" else 0)
    slot = 2 * config.n_kv_heads * config.d_head * itemsize(config)
    windows = [config.windows[i % len(config.windows)] for i in range(layers)]
    cache = tuple((slot, window) for window in windows)
    return Counts(parts, cache, again=parts["attention"] + parts["mlp"] + last)
