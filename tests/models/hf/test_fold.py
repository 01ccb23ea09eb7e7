"""Folding scales into parameters: another network, the same function."""

import dataclasses

import jax
import numpy as np
import pytest

import models
from models import Experts, MuP, TransformerConfig
from models.hf.checkpoint_tensors import flat, nested
from models.hf.fold import fold

PLAIN = TransformerConfig(31, 16, 2, 4, 2, 6, 24)
MUP = MuP(base_d_model=8, base_n_layers=1, base_d_head=4)
SHARED = Experts(4, 2, 10, d_shared=6, shared_gate=True, dispatch="dropless")
SCALED = {
    "biases and a tied table": dataclasses.replace(
        PLAIN, mup=MUP, embedding_scale=3.0, tied_embeddings=True, norm="layer", qkv_bias=True,
        output_bias=True, mlp_bias=True, positions="learned", max_len=9,
    ),
    "norms around branches": dataclasses.replace(
        PLAIN, mup=MUP, embedding_scale=3.0, attention_scale=0.3, norm_position="both", logit_softcap=2.0,
        norm="layer",
    ),
    "experts": dataclasses.replace(PLAIN, mup=MUP, family="moe", experts=SHARED, qk_norm="width"),
}  # fmt: skip


@pytest.mark.parametrize("name", SCALED)
def test_the_folded_network_is_the_same_function(name):
    config, rng = SCALED[name], np.random.default_rng(0)
    folded, factors = fold(config)
    assert (folded.mup, folded.embedding_scale, folded.attention_scale) == (None, 1, 0)
    shapes = jax.eval_shape(models.build(config).init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: rng.normal(0.2, 0.4, leaf.shape).astype(np.float32), shapes)
    scaled = nested({path: leaf * np.float32(factors.get(path, 1)) for path, leaf in flat(params).items()})
    tokens_BT = rng.integers(0, 31, (2, 9))

    @jax.jit
    def both(params, scaled):
        return (
            models.build(config).apply(params, tokens_BT),
            models.build(folded).apply(scaled, tokens_BT),
            models.build(folded).apply(params, tokens_BT),
        )

    with jax.default_matmul_precision("highest"):
        ours, theirs, unscaled = both(params, scaled)
    np.testing.assert_allclose(theirs, ours, atol=2e-5)
    assert np.abs(unscaled - ours).max() > 0.1


def test_a_network_without_scales_stays_as_it_is():
    folded, factors = fold(PLAIN)
    assert folded == PLAIN
    np.testing.assert_allclose(list(factors.values()), 1, rtol=1e-12)
