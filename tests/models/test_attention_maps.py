"""Attention maps are those that the network uses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import TransformerConfig, ladder
from models.attention_maps import attention_maps

CONFIG = TransformerConfig(11, 12, 3, 4, 2, 6, 16, windows=(0, 2), attention_softcap=3.0, qk_norm="head")


def test_maps_are_causal_distributions_within_the_window():
    params = jax.jit(models.build(CONFIG).init)(jax.random.key(0))
    maps_LBHTT = jax.jit(lambda p: attention_maps(CONFIG, p, jnp.arange(10).reshape(2, 5)))(params)
    assert maps_LBHTT.shape == (3, 2, 4, 5, 5)
    np.testing.assert_allclose(maps_LBHTT.sum(axis=-1), 1, atol=1e-6)
    seen = np.abs(maps_LBHTT).max(axis=(1, 2)) > 0
    back = np.arange(5)[:, None] - np.arange(5)
    for layer, window in enumerate((5, 2, 5)):
        np.testing.assert_array_equal(seen[layer], (back >= 0) & (back < window))


def test_maps_times_values_are_what_the_layer_adds():
    """One layer without a feed-forward branch: the stream grows by the maps' averages of the values."""
    config = TransformerConfig(11, 8, 1, 4, 2, 6, 8, norm_position="post", tied_embeddings=True)
    config = dataclasses.replace(config, embedding_scale=2.0)
    model = models.build(config)
    params = jax.jit(model.init)(jax.random.key(0))
    layer = jax.tree.map(lambda leaf: leaf[0], params["blocks"])
    layer["mlp"]["w_down"] = jnp.zeros_like(layer["mlp"]["w_down"])
    params["blocks"] = jax.tree.map(lambda leaf: leaf[None], layer)
    tokens_BT = jnp.array([[3, 1, 4, 1, 5]])
    maps_HTT = attention_maps(config, params, tokens_BT)[0, 0]
    x_TD = 2.0 * params["ends"]["embedding"][tokens_BT[0]]
    v_THK = jnp.repeat(jnp.einsum("td,dgk->tgk", x_TD, layer["attention"]["w_v"]), 2, axis=1)
    added_TD = jnp.einsum("hts,shk,hkd->td", maps_HTT, v_THK, layer["attention"]["w_o"])
    unit = lambda x: x / jnp.sqrt((x**2).mean(axis=-1, keepdims=True) + config.norm_eps)  # noqa: E731
    expected_TD = unit(x_TD + unit(added_TD))
    np.testing.assert_allclose(model.hidden(params, tokens_BT)[0][0], expected_TD, atol=1e-5)


def test_experts_are_refused():
    with pytest.raises(ValueError, match="'moe'"):
        attention_maps(ladder(16, 11, "moe"), {}, jnp.zeros((1, 2), jnp.int32))
