"""What a decoder attends to, and which experts its tokens go to, for pictures."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from models.configs.model_config import ModelConfig
from models.configs.transformer import BLOCKS, DENSE, TransformerConfig
from models.families import moe
from models.families.layer_scan import rows_in_stacks
from models.families.transformer import Block, Ends, feed_forward
from models.layers.attention import causal_mask, softcap, softmax
from models.layers.linear import project
from models.layers.moe import MoE
from models.layers.positions import rope_tables
from models.parameters import Params, functional

FAMILIES = ("transformer", "moe")


class Maps(NamedTuple):
    """attention_LBHTT: weights of every layer and head, float32; rows are queries and sum to one, or to less
    with sinks. routing_LBTE: of layers with experts what the router gives each token's chosen ones, float32,
    and 0 to the others; None without experts. logits_BTV: what comes of just these, float32."""

    attention_LBHTT: jax.Array
    routing_LBTE: jax.Array | None
    logits_BTV: jax.Array


def attention_maps(config: ModelConfig, params: Params, tokens_BT: jax.Array) -> Maps:
    """The maps of a network's pass over some tokens, which drops no token, as prefill and decoding do.

    Values are averaged by the maps themselves, so that the logits show whether they are the network's. Memory
    is that of all maps at once.

    Raises:
      ValueError: a network of another family than FAMILIES.
    """
    if not isinstance(config, TransformerConfig) or config.family not in FAMILIES:
        raise ValueError(
            f"model: family={config.family!r} has no attention maps; {' and '.join(FAMILIES)} have them"
        )
    _, bind_ends, _ = functional(lambda keys: Ends(config, keys))
    makers = {BLOCKS: moe.mixture if config.experts else feed_forward, DENSE: feed_forward}
    bind_block = {}
    for stack, make in makers.items():
        _, bind_block[stack], _ = functional(lambda keys, make=make: Block(config, keys, make))
    n, positions_1T = tokens_BT.shape[1], jnp.arange(tokens_BT.shape[1])[None]
    n_shared = config.n_heads // config.n_kv_heads
    ends, maps, routing = bind_ends(params["ends"]), [], []
    x_BTD = ends.embed(tokens_BT, positions_1T)
    for kind, row in zip(config.kinds(), rows_in_stacks(config.kinds())):
        layer = jax.tree.map(lambda leaf: leaf[row], params[kind.stack])  # noqa: B023
        block = bind_block[kind.stack](layer)
        mask_1TS, attention = causal_mask(n, kind.window), block.attention
        read_BTD = x_BTD if block.attention_norm is None else block.attention_norm(x_BTD)
        tables = kind.rope and rope_tables(positions_1T, config.d_rope, *kind.rope)
        q_BTHK, k_BSGK, v_BSGK = attention.queries_keys_values(read_BTD, tables)
        k_BSHK, v_BSHK = (jnp.repeat(each, n_shared, axis=2) for each in (k_BSGK, v_BSGK))
        scores_BHTS = jnp.einsum("bthk,bshk->bhts", q_BTHK * attention.scale, k_BSHK).astype(jnp.float32)
        sinks_H11 = None if attention.sinks is None else attention.sinks[...][:, None, None]
        maps.append(softmax(softcap(scores_BHTS, attention.softcap), mask_1TS[:, None], sinks_H11))
        values_BTHK = jnp.einsum("bhts,bshk->bthk", maps[-1].astype(v_BSHK.dtype), v_BSHK)
        attended_BTD = project(values_BTHK, attention.w_o, attention.b_o)
        x_BTD = block.add(x_BTD, attended_BTD, block.attention_out_norm)
        if isinstance(block.mlp, MoE):
            read_BTD = x_BTD if block.mlp_norm is None else block.mlp_norm(x_BTD)
            routing.append(block.mlp.routing(read_BTD))
        x_BTD, _ = block.feed_forward(x_BTD, exact=True)
    logits_BTV = ends.logits(ends.final_norm(x_BTD))
    return Maps(jnp.stack(maps), jnp.stack(routing) if routing else None, logits_BTV)
