"""What a decoder-only transformer attends to, for pictures."""

import jax
import jax.numpy as jnp

from models.families.transformer import Block, Ends, TransformerConfig, feed_forward
from models.layers.attention import causal_mask, softcap, softmax
from models.layers.positions import rope_tables
from models.parameters import Params, functional


def attention_maps(config: TransformerConfig, params: Params, tokens_BT: jax.Array) -> jax.Array:
    """Attention weights [L,B,H,T,T] of every layer and head, float32: rows are queries and sum to one.

    Memory is that of all maps at once.

    Raises:
      ValueError: a network with experts.
    """
    if config.family != "transformer":
        raise ValueError(f"model: family={config.family!r}; attention_maps knows 'transformer' alone")
    _, bind_ends, _ = functional(lambda keys: Ends(config, keys))
    _, bind_block, _ = functional(lambda keys: Block(config, keys, feed_forward))
    n, positions_1T, tables = tokens_BT.shape[1], jnp.arange(tokens_BT.shape[1])[None], None
    if config.positions == "rope":
        tables = rope_tables(positions_1T, config.d_head, config.rope_theta, config.rope_scaling)
    x_BTD, maps = bind_ends(params["ends"]).embed(tokens_BT, positions_1T), []
    for i in range(config.n_layers):
        block = bind_block(jax.tree.map(lambda leaf: leaf[i], params["blocks"]))  # noqa: B023
        window = config.windows[i % len(config.windows)]
        mask_1TS, attention = causal_mask(n, window), block.attention
        read_BTD = x_BTD if block.attention_norm is None else block.attention_norm(x_BTD)
        q_BTHK, k_BSGK, _ = attention.queries_keys_values(read_BTD, tables)
        k_BSHK = jnp.repeat(k_BSGK, config.n_heads // config.n_kv_heads, axis=2)
        scores_BHTS = jnp.einsum("bthk,bshk->bhts", q_BTHK * attention.scale, k_BSHK).astype(jnp.float32)
        maps.append(softmax(softcap(scores_BHTS, attention.softcap), mask_1TS[:, None]))
        x_BTD, _ = block(x_BTD, tables, mask_1TS, window, True)
    return jnp.stack(maps)
