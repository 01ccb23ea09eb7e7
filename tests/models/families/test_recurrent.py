"""Decoders with a constant state: causal and exact across chunks, counted, trainable."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from models import count, ladder
from tests.models.configs.test_counting import product_flops
from tests.models.families.networks import VARIANTS, VOCAB, drawn
from tests.models.ragged import assert_decoding_is_the_forward_pass

CONFIGS = VARIANTS["rwkv4"] | VARIANTS["rwkv7"]
V, D, LAYERS = VOCAB, 16, 3


@pytest.fixture(params=CONFIGS, scope="module")
def network(request):
    model = models.build(CONFIGS[request.param])
    return model, drawn(model)


@pytest.mark.slow  # within twelve tokens, three chunks of RWKV-7: test_contract.py
def test_outputs_depend_on_no_later_token_and_on_all_before_across_chunks(network):
    """d x[t] / d embedding of token s is zero exactly for s > t, and not zero for s ≤ t."""
    model, params = network
    row_1T = jnp.arange(38)[None]  # one entry of the table a position, so the gradient tells them apart

    @jax.jit
    @jax.jacrev
    def jacobian(table_VD):
        ends = params["ends"] | {"embedding": table_VD}
        x_BTD, aux = model.hidden(params | {"ends": ends}, row_1T)
        assert aux == {}
        return x_BTD[0] @ jnp.arange(1.0, D + 1)

    reach_TS = np.abs(jacobian(params["ends"]["embedding"]))[:, :38].max(axis=-1)
    assert (np.triu(reach_TS, 1) == 0).all()
    assert (reach_TS[np.tri(38, dtype=bool)] > 0).all()


def test_prefill_and_decode_equal_the_full_forward_pass_for_ragged_rows(network):
    model, params = network
    tokens_BT = jax.random.randint(jax.random.key(2), (3, 41), 0, V)
    cache = assert_decoding_is_the_forward_pass(model, params, tokens_BT, (5, 37, 1), atol=2e-5)

    # Padding leaves the state as it is: that of the row alone.
    _, alone = jax.jit(model.prefill, static_argnums=3)(params, tokens_BT[:1, :5], jnp.array([5]), 41)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[:, 0], b[:, 0], atol=2e-5), cache, alone)


def test_recurrence_alone_equals_the_parallel_form(network):
    """From the first token on, over more than one chunk of either family."""
    model, params = network
    tokens_BT = jax.random.randint(jax.random.key(3), (2, 71), 0, V)

    @jax.jit
    def recurrence(params, tokens_BT):
        first, cache = model.prefill(params, tokens_BT[:, :1], jnp.ones(2, jnp.int32), 71)

        def step(cache, token_B):
            logits_BV, cache = model.decode(params, token_B, cache)
            return cache, logits_BV

        _, rest_TBV = jax.lax.scan(step, cache, tokens_BT[:, 1:].T)
        return jnp.concatenate([first[None], rest_TBV]).swapaxes(0, 1)

    full = jax.jit(model.apply)(params, tokens_BT)
    np.testing.assert_allclose(recurrence(params, tokens_BT), full, atol=5e-5)


def test_state_has_the_size_counted_whatever_the_length(network):
    model, params = network

    def cache_of(length):
        prefill = functools.partial(model.prefill, max_len=2 * length)
        tokens, lengths = jax.ShapeDtypeStruct((5, length), jnp.int32), jax.ShapeDtypeStruct((5,), jnp.int32)
        return jax.eval_shape(prefill, params, tokens, lengths)[1]

    leaves = jax.tree.leaves(cache_of(9))
    assert all(leaf.shape[:2] == (LAYERS, 5) for leaf in leaves)
    assert cache_of(9) == cache_of(1000)
    n_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    assert n_bytes == 5 * count(model.config).cache_bytes(9) == 5 * count(model.config).cache_bytes(1000)


def test_sums_of_the_past_stay_float32_under_bfloat16_compute(network):
    config = dataclasses.replace(network[0].config, dtype="bfloat16")
    prefill = functools.partial(models.build(config).prefill, max_len=16)
    tokens, lengths = jax.ShapeDtypeStruct((2, 9), jnp.int32), jax.ShapeDtypeStruct((2,), jnp.int32)
    cache = jax.eval_shape(prefill, network[1], tokens, lengths)[1]
    types = {name: str(leaf.dtype) for name, leaf in cache.items()}
    assert {types.pop("time_x"), types.pop("channel_x")} == {"bfloat16"}
    assert set(types.values()) == {"float32"}
    n_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in cache.values())
    assert n_bytes == 2 * count(config).cache_bytes(16)


def test_parameters_counted_are_those_of_the_real_tree_group_by_group(network):
    model, params = network
    sizes = dict.fromkeys(("embedding", "time_mix", "channel_mix", "norms", "head"), 0)
    for path, leaf in jax.tree.leaves_with_path(params):
        names = [key.key for key in path]
        is_norm = any(name.endswith("_norm") for name in names)
        group = "norms" if is_norm else next(g for g in sizes if g in names)
        sizes[group] += math.prod(leaf.shape)
    counts = count(model.config)
    assert {name: part.n_params for name, part in counts.parts.items() if name != "state"} == sizes
    assert counts.n_total == sum(sizes.values())
    assert counts.n_embed == V * D


def test_a_tied_table_is_counted_once_and_multiplied():
    config = dataclasses.replace(CONFIGS["rwkv4"], tied_embeddings=True)
    shapes = jax.eval_shape(models.build(config).init, jax.random.key(0))
    counts = count(config)
    assert counts.n_total == sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert (counts.n_embed, counts.parts["head"].flops) == (0, 2 * V * D)


def test_flops_counted_are_the_products_of_the_real_program(network):
    model, params = network
    batch, seq_len = 3, 12  # whole chunks
    program = jax.make_jaxpr(model.apply)(params, jnp.zeros((batch, seq_len), jnp.int32))
    counts = count(model.config)
    computed = counts.forward_flops_per_token(seq_len) + counts.total.wasted_flops
    assert product_flops(program.jaxpr) == batch * seq_len * computed
    assert counts.forward_flops_per_token(10) == counts.forward_flops_per_token(10_000)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["rwkv4", "rwkv7"])
def test_learns_from_scratch_to_repeat_what_it_saw(family):
    """Random tokens, then the same again: the second half can only be predicted by looking back 8 tokens."""
    model = models.build(ladder(32, 16, family))
    optimizer = optax.adam(1e-2, b2=0.98)

    def loss(params, tokens_BT):
        logits_BTV = model.apply(params, tokens_BT[:, :-1])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits_BTV, tokens_BT[:, 1:])
        return losses[:, 8:].mean()

    def step(carry, key):
        params, state = carry
        half = jax.random.randint(key, (32, 8), 0, 16)
        value, grads = jax.value_and_grad(loss)(params, jnp.concatenate([half, half], axis=1))
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), value

    @jax.jit
    def train(params, keys):
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[1]

    init = jax.jit(model.init, compiler_options={"xla_backend_optimization_level": 0})  # as training does
    losses = train(init(jax.random.key(0)), jax.random.split(jax.random.key(1), 300))
    assert losses[0] == pytest.approx(math.log(16) + 0.5, abs=0.5)
    assert losses[-10:].mean() < 0.7 * math.log(16)
