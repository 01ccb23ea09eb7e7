"""Latent attention: what decoding reads from latents is what a sequence reads from keys and values."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import Latent, TransformerConfig
from models.families.transformer import attention
from models.layers.attention import causal_mask, in_parts, to_slots
from models.layers.linear import packed
from models.layers.positions import rope_tables
from models.parameters import functional

CONFIG = TransformerConfig(11, 8, 2, 4, 4, 6, 8, latent=Latent(kv_rank=5, d_rope=2, d_value=3, q_rank=7))


def test_decoding_from_latents_equals_attention_over_the_sequence():
    init, bind, axes = functional(lambda keys: attention(CONFIG, keys))
    n, lengths_B = 5, jnp.array([4, 4])

    @jax.jit
    def last_by_either(key):
        params, x_BTD = init(key), jax.random.normal(key, (2, n, 8))
        tables = rope_tables(jnp.arange(n)[None], 2, 100.0)
        out_BTD, kept = bind(params)(x_BTD, tables, causal_mask(n), 0)
        cache = tuple(in_parts(to_slots(each[:, :-1], lengths_B, n)) for each in kept)
        assert [part.shape for part, *_ in cache] == [(2, 1, n, 2), (2, 1, n, 5)]
        last = tuple(table[:, -1:] for table in tables)
        layers = bind(params), bind(jax.tree.map(packed, axes, params))
        decoded = [layer.decode(x_BTD[:, -1:], last, cache, lengths_B)[0][:, 0] for layer in layers]
        return out_BTD[:, -1], decoded

    with jax.default_matmul_precision("highest"):
        expected_BD, decoded = last_by_either(jax.random.key(0))
    for each_BD in decoded:
        np.testing.assert_allclose(each_BD, expected_BD, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_kv_heads": 2}, "latent with n_kv_heads=2; it must be 4"),
        ({"sinks": True}, "latent with sinks=True"),
        ({"d_head": 2}, "d_rope=2; it must be below d_head=2"),
    ],
)
def test_what_it_does_not_have_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(CONFIG, **changed)
