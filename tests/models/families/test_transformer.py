"""The decoder-only transformer: causal, exact under every way of running it, equal to a published model."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import RopeScaling, TransformerConfig
from tests.models.ragged import assert_decoding_is_the_forward_pass

SMALL = {
    "vocab_size": 61,
    "d_model": 16,
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "d_head": 6,
    "d_ff": 24,
}
LLAMA3 = RopeScaling("llama3", 8.0, original_len=16)
CONFIGS = {
    "llama": TransformerConfig(**SMALL, rope_scaling=LLAMA3),
    "mqa-tied": TransformerConfig(**SMALL | {"n_kv_heads": 1}, tied_embeddings=True, embedding_scale=4.0),
    "gpt2": TransformerConfig(
        **SMALL | {"n_kv_heads": 4},
        tied_embeddings=True,
        positions="learned",
        max_len=16,
        norm="layer",
        gated=False,
        activation="gelu_tanh",
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
    ),
    "mistral": TransformerConfig(**SMALL, windows=(3,), positions="sinusoidal"),
    "qwen3": TransformerConfig(**SMALL, qk_norm="head", positions="none"),
    "olmo2": TransformerConfig(**SMALL, qk_norm="width", norm_position="post"),
    "gemma2": TransformerConfig(  # three layers of two kinds: the last cycle is cut short
        **SMALL,
        windows=(4, 0),
        norm_position="both",
        attention_softcap=5.0,
        logit_softcap=3.0,
        activation="gelu_tanh",
        attention_scale=0.3,
    ),
}


@jax.jit
def perturbed(params):
    """Biases and scales start at 0 and 1, where mistakes with them do not show."""
    return jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(p.size), p.shape), params)


@pytest.fixture(params=CONFIGS, scope="module")
def network(request):
    model = models.build(CONFIGS[request.param])
    params = jax.jit(model.init)(jax.random.key(1))
    params = perturbed(params)
    tokens_BT = jax.random.randint(jax.random.key(2), (3, 12), 0, 61)
    return model, params, tokens_BT


def test_logits_depend_on_no_later_token(network):
    """d logits[t] / d embedding of token s is zero exactly for s > t, through all layers.

    It is not zero for s ≤ t, unless windows that add up over the layers end before s.
    """
    model, params, _ = network
    # The first 12 tokens in a row: one entry of the table a position, so the gradient tells them apart.
    row_1T = jnp.arange(12)[None]
    config = dataclasses.replace(model.config, tied_embeddings=False)
    embedding = params["ends"]["embedding"]
    ends = {"head": embedding.T} | params["ends"]

    @jax.jit
    @jax.jacrev
    def jacobian(table_TD):
        table = embedding.at[:12].set(table_TD)
        return models.build(config).apply(params | {"ends": ends | {"embedding": table}}, row_1T)[0]

    reach_TS = np.abs(jacobian(embedding[:12])).max(axis=(1, 3))
    back_TS = np.arange(12)[:, None] - np.arange(12)
    layers = [config.windows[i % len(config.windows)] for i in range(config.n_layers)]
    farthest = sum(window - 1 if window else 12 for window in layers)
    assert (reach_TS[(back_TS < 0) | (back_TS > farthest)] == 0).all()
    assert (reach_TS[(back_TS >= 0) & (back_TS <= farthest)] > 0).all()


def test_prefill_and_decode_equal_the_full_forward_pass_for_ragged_rows(network):
    model, params, tokens_BT = network
    assert_decoding_is_the_forward_pass(model, params, tokens_BT)


def test_packed_weights_decode_to_the_same_logits(network):
    model, params, tokens_BT = network
    packed = params | {"packed": jax.jit(model.pack)(params)}
    assert_decoding_is_the_forward_pass(model, packed, tokens_BT)


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


def test_rematerialisation_changes_no_number(network):
    model, params, tokens_BT = network
    remat = models.build(dataclasses.replace(model.config, remat=True))

    def loss(apply):
        return lambda params: (apply(params, tokens_BT) ** 2).mean()

    plain = jax.jit(jax.value_and_grad(loss(model.apply)))(params)
    again = jax.jit(jax.value_and_grad(loss(remat.apply)))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), plain, again)


def test_bfloat16_compute_keeps_float32_parameters_and_logits(network):
    model, params, tokens_BT = network
    half = models.build(dataclasses.replace(model.config, dtype="bfloat16"))
    logits = jax.jit(half.apply)(params, tokens_BT)
    assert logits.dtype == jnp.float32
    shapes = jax.eval_shape(half.init, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    exact = jax.jit(model.apply)(params, tokens_BT)
    assert 0 < np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_program_does_not_grow_with_depth(name):
    def size(n_layers):
        config = dataclasses.replace(CONFIGS[name], n_layers=n_layers)
        model = models.build(config)
        params = jax.eval_shape(model.init, jax.random.key(0))
        return len(jax.jit(model.apply).lower(params, jnp.zeros((1, 8), jnp.int32)).as_text())

    assert size(12) < 1.05 * size(2)


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
