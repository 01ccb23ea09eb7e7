"""The decoder-only transformer: causal, exact under every way of running it, equal to a published model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models.config import TransformerConfig

CONFIGS = {
    "gqa": TransformerConfig(61, 24, 3, 4, 2, 6, 40),
    "tied": TransformerConfig(61, 16, 2, 2, 2, 8, 40, tied_embeddings=True),
    "one-kv-head": TransformerConfig(61, 16, 2, 4, 1, 6, 40),
}


@pytest.fixture(params=CONFIGS)
def network(request):
    model = models.build(CONFIGS[request.param])
    params = model.init(jax.random.key(1))
    tokens_BT = jax.random.randint(jax.random.key(2), (3, 12), 0, 61)
    return model, params, tokens_BT


def test_logits_depend_on_no_later_token(network):
    """d logits[t] / d embedding of token s is zero exactly for s > t, through all layers."""
    model, params, tokens_BT = network
    row = tokens_BT[:1]

    def logits_TV(table_TD):
        # One vocabulary entry a position, so that the gradient tells the positions apart.
        ends = params["ends"] | {"embedding": table_TD}
        if model.config.tied_embeddings:
            untied = dataclasses.replace(model.config, tied_embeddings=False, vocab_size=row.shape[1])
            ends["head"] = params["ends"]["embedding"].T
            return models.build(untied).apply(params | {"ends": ends}, jnp.arange(row.shape[1])[None])[0]
        return model.apply(params | {"ends": ends}, jnp.arange(row.shape[1])[None])[0]

    table_TD = params["ends"]["embedding"][row[0]]
    jacobian_TVSD = jax.jacrev(logits_TV)(table_TD)
    reach_TS = np.abs(jacobian_TVSD).max(axis=(1, 3))
    assert (reach_TS[np.triu_indices(12, 1)] == 0).all()
    assert (reach_TS[np.tril_indices(12)] > 0).all()


def test_prefill_and_decode_equal_the_full_forward_pass_for_ragged_rows(network):
    model, params, tokens_BT = network
    full_BTV = model.apply(params, tokens_BT)
    lengths_B, rows = jnp.array([5, 8, 1]), jnp.arange(3)
    padded_BT = jnp.where(jnp.arange(8) < lengths_B[:, None], tokens_BT[:, :8], 7)
    logits_BV, cache = model.prefill(params, padded_BT, lengths_B, 12)
    np.testing.assert_allclose(logits_BV, full_BTV[rows, lengths_B - 1], atol=1e-5)
    for step in range(4):
        logits_BV, cache = model.decode(params, tokens_BT[rows, lengths_B + step], cache)
        np.testing.assert_allclose(logits_BV, full_BTV[rows, lengths_B + step], atol=1e-5)


def test_rematerialisation_changes_no_number(network):
    model, params, tokens_BT = network
    remat = models.build(dataclasses.replace(model.config, remat=True))

    def loss(apply):
        return lambda params: (apply(params, tokens_BT) ** 2).mean()

    plain = jax.value_and_grad(loss(model.apply))(params)
    again = jax.value_and_grad(loss(remat.apply))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), plain, again)


def test_bfloat16_compute_keeps_float32_parameters_and_logits(network):
    model, params, tokens_BT = network
    half = models.build(dataclasses.replace(model.config, dtype="bfloat16"))
    logits = half.apply(params, tokens_BT)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(half.init(jax.random.key(0)))} == {jnp.dtype("float32")}
    difference = np.abs(logits - model.apply(params, tokens_BT))
    assert 0 < difference.max() < 0.1


def test_program_does_not_grow_with_depth():
    def size(n_layers):
        config = dataclasses.replace(CONFIGS["gqa"], n_layers=n_layers)
        model = models.build(config)
        params = jax.eval_shape(model.init, jax.random.key(0))
        return len(jax.jit(model.apply).lower(params, jnp.zeros((1, 8), jnp.int32)).as_text())

    assert size(12) < 1.05 * size(2)


def test_initial_scales_keep_activations_near_one(network):
    model, params, tokens_BT = network
    logits_BTV = model.apply(params, tokens_BT)
    assert 0.5 < float(logits_BTV.std()) < 2


def test_equals_llama_of_an_independent_implementation():
    """Golden logits of transformers' Llama (rope, GQA, SwiGLU, untied head) from the same weights."""
    golden = np.load("tests/data/llama.npz")
    config = TransformerConfig(**{name: golden[f"config_{name}"].item() for name in GOLDEN_FIELDS})
    params = jax.tree.map(jnp.asarray, _unflatten(golden))
    with jax.default_matmul_precision("highest"):
        logits = models.build(config).apply(params, jnp.asarray(golden["input_ids"]))
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
