"""The decoder-only transformer: what its cache is, how it begins, equal to a published model."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import TransformerConfig
from tests.models.families.networks import VARIANTS

CONFIGS = VARIANTS["transformer"]


def test_one_row_is_decoded_without_a_copy_of_its_cache():
    model = models.build(CONFIGS["llama"])
    params = jax.jit(model.init)(jax.random.key(0))
    _, cache = model.prefill(params, jnp.zeros((1, 4), jnp.int32), jnp.asarray([4]), max_len=92)

    def step(carry):
        token_B, cache = carry
        logits_BV, cache = model.decode(params, token_B, cache)
        return logits_BV.argmax(axis=1), cache

    loop = jax.jit(lambda carry: jax.lax.while_loop(lambda c: c[1]["lengths"][0] < 20, step, carry))
    program = loop.lower((jnp.zeros(1, jnp.int32), cache)).compile().as_text()
    inside = program[: program.index("\nENTRY")]
    assert "23" in inside  # 92 slots in four parts
    assert not re.findall(r"= f32\[[0-9,]*\b23,\d+\]\S* copy\(", inside)


def test_cache_of_a_sliding_window_is_a_ring_of_its_length():
    model = models.build(CONFIGS["gemma2"])
    params = jax.eval_shape(model.init, jax.random.key(0))
    tokens = jax.ShapeDtypeStruct((2, 7), jnp.int32)
    prefill = functools.partial(model.prefill, max_len=9)
    _, cache = jax.eval_shape(prefill, params, tokens, jax.ShapeDtypeStruct((2,), jnp.int32))
    assert [[k.shape for k in parts] for parts in cache["k"]] == [
        [(1, 2, 2, n, 6)] for n in (4, 9, 4)
    ]  # [1, B, G, slots, K]


@pytest.mark.parametrize("name", CONFIGS)
def test_initial_scales_keep_activations_near_one(name):
    model = models.build(dataclasses.replace(CONFIGS[name], logit_softcap=0.0))
    params = jax.jit(model.init)(jax.random.key(1))
    tokens_BT = jax.random.randint(jax.random.key(2), (3, 12), 0, 61)
    assert 0.5 < float(jax.jit(model.apply)(params, tokens_BT).std()) < 2


def test_equals_llama_of_an_independent_implementation():
    """Golden logits of transformers' Llama (rope, GQA, SwiGLU, untied head) from the same weights."""
    golden = np.load("tests/data/llama.npz")
    config = TransformerConfig(**{name: golden[f"config_{name}"].item() for name in GOLDEN_FIELDS})
    params = jax.tree.map(jnp.asarray, _unflatten(golden))
    with jax.default_matmul_precision("highest"):
        logits = jax.jit(models.build(config).apply)(params, jnp.asarray(golden["input_ids"]))
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-4)


@pytest.mark.parametrize("name", ["embedding_scale", "attention_scale", "attention_softcap", "logit_softcap"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_scales_that_are_no_numbers_are_refused(name, value):
    with pytest.raises(ValueError, match=f"model: {name}={value}; it must be"):
        dataclasses.replace(CONFIGS["llama"], **{name: value})


GOLDEN_FIELDS = (
    *("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_head", "d_ff"),
    *("rope_theta", "norm_eps"),
)


def _unflatten(golden) -> dict:
    tree: dict = {}
    for name in golden.files:
        if "/" in name:
            *parents, leaf = name.split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = golden[name]
    return tree
