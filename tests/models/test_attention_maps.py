"""Attention maps are those that the network uses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import Experts, Latent, TransformerConfig, ladder
from models.attention_maps import attention_maps

CONFIG = TransformerConfig(
    *(11, 12, 3, 4, 2, 6, 16),
    windows=(0, 2),
    attention_softcap=3.0,
    qk_norm="head",
    rope_layers=(True, True, False),
    local_rope_theta=50.0,
)


MIX = Experts(4, 2, d_expert=10, d_shared=6, shared_gate=True, dispatch="dropless")
OTHER = TransformerConfig(
    *(11, 8, 2, 4, 2, 6, 8),
    norm_position="both",
    norm="layer",
    positions="learned",
    max_len=5,
    qkv_bias=True,
    output_bias=True,
    embedding_scale=2.0,
    tied_embeddings=True,
    experts=MIX,
    family="moe",
)


LATENT = TransformerConfig(11, 8, 2, 4, 4, 6, 8, latent=Latent(5, 2, 3))


@pytest.mark.parametrize(
    "config",
    [pytest.param(CONFIG, marks=pytest.mark.slow), pytest.param(LATENT, marks=pytest.mark.slow), OTHER],
    ids=["windows", "latent", "experts"],
)
def test_maps_are_causal_distributions_whose_logits_are_the_networks(config):
    """So they are the weights inside its pass, and routing what its experts are added up with."""
    model, tokens_BT = models.build(config), jnp.array([[3, 1, 4, 1, 5], [2, 7, 1, 8, 2]])

    @jax.jit
    def both():
        params = model.init(jax.random.key(0))
        noise = lambda leaf: 0.1 * jax.random.normal(jax.random.key(1), leaf.shape)  # noqa: E731
        params = jax.tree.map(lambda leaf: leaf + noise(leaf), params)
        return attention_maps(config, params, tokens_BT), model.apply(params, tokens_BT)

    with jax.default_matmul_precision("highest"):
        maps, logits_BTV = both()
    np.testing.assert_allclose(maps.logits_BTV, logits_BTV, atol=1e-4)
    maps_LBHTT = np.asarray(maps.attention_LBHTT)
    assert maps_LBHTT.shape == (config.n_layers, 2, 4, 5, 5)
    np.testing.assert_allclose(maps_LBHTT.sum(axis=-1), 1, atol=1e-6)
    back = np.arange(5)[:, None] - np.arange(5)
    for layer, seen in enumerate(maps_LBHTT.max(axis=(1, 2)) > 0):
        window = config.windows[layer % len(config.windows)] or 5
        np.testing.assert_array_equal(seen, (back >= 0) & (back < window))
    if config.experts is None:
        assert maps.routing_LBTE is None
    else:
        assert maps.routing_LBTE.shape == (2, 2, 5, 4)
        np.testing.assert_allclose(maps.routing_LBTE.sum(axis=-1), 1, atol=1e-6)
        assert ((maps.routing_LBTE > 0).sum(axis=-1) == 2).all()


def test_networks_without_maps_are_refused():
    with pytest.raises(ValueError, match="family='rwkv7' has no attention maps"):
        attention_maps(ladder(16, 11, "rwkv7"), {}, jnp.zeros((1, 2), jnp.int32))
