"""Attention maps are those that the network uses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import Experts, TransformerConfig, ladder
from models.attention_maps import attention_maps

CONFIG = TransformerConfig(11, 12, 3, 4, 2, 6, 16, windows=(0, 2), attention_softcap=3.0, qk_norm="head")


def test_maps_are_causal_distributions_within_the_window():
    params = jax.jit(models.build(CONFIG).init)(jax.random.key(0))
    tokens_BT = jnp.arange(10).reshape(2, 5)
    maps_LBHTT = jax.jit(lambda p: attention_maps(CONFIG, p, tokens_BT).attention_LBHTT)(params)
    assert maps_LBHTT.shape == (3, 2, 4, 5, 5)
    np.testing.assert_allclose(maps_LBHTT.sum(axis=-1), 1, atol=1e-6)
    seen = np.abs(maps_LBHTT).max(axis=(1, 2)) > 0
    back = np.arange(5)[:, None] - np.arange(5)
    for layer, window in enumerate((5, 2, 5)):
        np.testing.assert_array_equal(seen[layer], (back >= 0) & (back < window))


MIX = Experts(4, 2, d_expert=10, d_shared=6, shared_gate=True, dispatch="dropless")
NETWORKS = {
    "windows, caps and grouped heads": CONFIG,
    "learned positions, biases, norms after": TransformerConfig(
        *(11, 8, 2, 4, 2, 6, 8),
        norm_position="both",
        norm="layer",
        positions="learned",
        max_len=5,
        qkv_bias=True,
        output_bias=True,
        embedding_scale=2.0,
        tied_embeddings=True,
    ),
    "experts": TransformerConfig(11, 12, 2, 2, 1, 6, 16, experts=MIX, family="moe"),
}


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_the_logits_of_the_maps_are_the_networks(config):
    """So the maps are the weights inside its pass, and routing what its experts are added up with."""
    model, tokens_BT = models.build(config), jnp.array([[3, 1, 4, 1, 5], [2, 7, 1, 8, 2]])

    @jax.jit
    def both():
        params = model.init(jax.random.key(0))
        params = jax.tree.map(
            lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), params
        )
        return attention_maps(config, params, tokens_BT), model.apply(params, tokens_BT)

    with jax.default_matmul_precision("highest"):
        maps, logits_BTV = both()
    np.testing.assert_allclose(maps.logits_BTV, logits_BTV, atol=1e-4)
    assert maps.attention_LBHTT.shape == (config.n_layers, 2, config.n_heads, 5, 5)
    if config.experts is None:
        assert maps.routing_LBTE is None
    else:
        assert maps.routing_LBTE.shape == (2, 2, 5, 4)
        np.testing.assert_allclose(maps.routing_LBTE.sum(axis=-1), 1, atol=1e-6)
        assert ((maps.routing_LBTE > 0).sum(axis=-1) == 2).all()


def test_networks_without_maps_are_refused():
    with pytest.raises(ValueError, match="family='rwkv7' has no attention maps"):
        attention_maps(ladder(16, 11, "rwkv7"), {}, jnp.zeros((1, 2), jnp.int32))
