"""Weights of 8 bits: products near the exact ones, the same in any company, and what they cost a network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from models import TransformerConfig, ladder
from models.decoding.prefill import packed
from models.layers.int8 import Int8Matrix, int8_matrix, int8_table
from models.parameters import parse_axes
from tests.models.families.networks import VARIANTS, drawn
from tests.tiers import slow_but

QUICK = {"xla_backend_optimization_level": 0}  # compiles
pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="8 bits are for CPUs")


def test_a_product_is_within_a_hundredth_and_a_row_has_the_same_bits_alone_and_among_others():
    rng = np.random.default_rng(0)
    x_NI = rng.normal(size=(5, 96)).astype(np.float32) * np.array([[1e-3], [1], [50], [1], [0]], np.float32)
    w = jnp.asarray(rng.normal(size=(12, 8, 24)) * np.linspace(0.01, 9, 24), jnp.float32)
    matrix = int8_matrix(parse_axes("heads head -> embed"), w)
    assert isinstance(matrix, Int8Matrix) and matrix.matrix_OI.dtype == jnp.int8
    product = jax.jit(lambda x: matrix.product(x))
    exact_NO = x_NI @ np.asarray(w).reshape(96, 24)
    scale_NO = np.linalg.norm(x_NI, axis=1)[:, None] * np.linalg.norm(np.asarray(w).reshape(96, 24), axis=0)
    found_NO = np.asarray(product(x_NI))
    assert (np.abs(found_NO - exact_NO) <= 0.005 * scale_NO).all()
    for n in range(5):
        np.testing.assert_array_equal(product(x_NI[n : n + 1])[0], found_NO[n])


def test_vectors_stay_and_a_table_is_looked_up_as_it_is_multiplied():
    bias = jnp.arange(3.0)
    assert int8_matrix(parse_axes("-> embed"), bias) is bias
    table_VD = jax.random.normal(jax.random.key(0), (7, 16))
    table = int8_table(table_VD)
    np.testing.assert_allclose(
        table.rows(jnp.array([[2, 6]]), jnp.float32), table_VD[None, [2, 6]], atol=0.02
    )
    rows_VD = table.rows(jnp.arange(7), jnp.float32)
    np.testing.assert_allclose(table.product(jnp.eye(16)), rows_VD.T, rtol=1e-5)


def logits(model, params, tokens_BT) -> jax.Array:
    """[B,T,V]: after each token, which the cache gets one by one."""

    def step(cache, token_B):
        logits_BV, cache = model.decode(params, token_B, cache)
        return cache, logits_BV

    n_rows, n = tokens_BT.shape
    first_BV, cache = model.prefill(params, tokens_BT[:, :1], jnp.ones(n_rows, jnp.int32), n)
    _, more_TBV = jax.lax.scan(step, cache, tokens_BT[:, 1:].T)
    return jnp.concatenate([first_BV[None], more_TBV]).swapaxes(0, 1)


@pytest.mark.parametrize("name", slow_but(["mqa-tied", "gpt2", "mistral"], VARIANTS["transformer"]))
def test_logits_of_every_transformer_are_near_those_of_float32(name):
    """Drawn weights: on the average within a twentieth of how far logits lie apart."""
    model = models.build(VARIANTS["transformer"][name])
    params, tokens_BT = drawn(model), jax.random.randint(jax.random.key(1), (3, 8), 0, 61)
    exact, found = (
        jax.jit(logits, static_argnums=0, compiler_options=QUICK)(
            model, packed(model, params, weights), tokens_BT
        )
        for weights in ("float32", "int8")
    )
    np.testing.assert_array_equal(found[:, 0], exact[:, 0])  # a prompt is read as ever
    error = jnp.sqrt(jnp.square(found - exact)[:, 1:].mean()) / exact.std()
    assert 0 < error < 0.05


def test_perplexity_of_a_trained_network_changes_by_less_than_half_a_percent():
    """Texts in which the two tokens before say which of three comes next, of entropy 0.9."""
    rng = np.random.default_rng(0)
    follows, probabilities = rng.integers(0, 12, (12, 12, 3)), np.array([0.6, 0.3, 0.1])

    def texts(n_rows: int, n: int) -> np.ndarray:
        rows = list(rng.integers(0, 12, (2, n_rows)))
        for _ in range(n - 2):
            rows.append(follows[rows[-2], rows[-1], rng.choice(3, n_rows, p=probabilities)])
        return np.array(rows).T

    def loss(logits_BTV, tokens_BT):
        return optax.softmax_cross_entropy_with_integer_labels(logits_BTV[:, 1:-1], tokens_BT[:, 2:]).mean()

    model = models.build(TransformerConfig(12, 32, 2, 4, 4, 8, 88, tied_embeddings=True, embedding_scale=6.0))
    params, adam = jax.jit(model.init)(jax.random.key(0)), optax.adam(5e-3)

    @jax.jit
    def train(params, texts_NBT):
        def step(carry, tokens_BT):
            gradient = jax.grad(lambda params: loss(model.apply(params, tokens_BT), tokens_BT))(carry[0])
            updates, state = adam.update(gradient, carry[1])
            return (optax.apply_updates(carry[0], updates), state), None

        return jax.lax.scan(step, (params, adam.init(params)), texts_NBT)[0][0]

    params = train(params, texts(150 * 64, 24).reshape(150, 64, 24))
    tokens_BT = texts(64, 24)
    measure = jax.jit(
        lambda params: loss(logits(model, params, tokens_BT), tokens_BT), compiler_options=QUICK
    )
    exact, found = (float(measure(packed(model, params, weights))) for weights in ("float32", "int8"))
    assert exact < 1.3  # of ln 12 = 2.5: it has learnt
    assert 0 < abs(np.exp(found - exact) - 1) < 0.005


@pytest.mark.parametrize("family", ["moe", "rnn", "rwkv7", "encdec"])
def test_other_families_refuse_by_name(family):
    model = models.build(ladder(16, 31, family))
    with pytest.raises(ValueError, match=f"int8 weights: .*(family='{family}'|experts)"):
        packed(model, jax.eval_shape(model.init, jax.random.key(0)), "int8")
