"""RWKV-7's delta rule: equal to a plain recurrence, gradient and all; stable; an independent one's state."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import RWKV7Config, hf
from models.families.rwkv7 import SLOWEST
from models.layers.delta_rule import delta_rule, delta_rule_step, inverse
from tests.models.families.networks import drawn


def plain(r, log_w, k, v, a, b):
    """The definition, token by token in numpy: what is read [B,T,H,V], and the last state [B,H,V,K]."""
    r, log_w, k, v, a, b = (np.asarray(x, np.float64) for x in (r, log_w, k, v, a, b))
    state, read = np.zeros((*v[:, 0].shape, k.shape[-1])), []
    for t in range(r.shape[1]):
        removed = np.einsum("bhvk,bhk->bhv", state, a[:, t])
        state = state * np.exp(log_w[:, t])[:, :, None]
        state = (
            state
            + np.einsum("bhv,bhk->bhvk", removed, b[:, t])
            + np.einsum("bhv,bhk->bhvk", v[:, t], k[:, t])
        )
        read.append(np.einsum("bhvk,bhk->bhv", state, r[:, t]))
    return np.stack(read, 1), state


def plain_jax(*inputs):
    """The recurrence that decoding uses, from the first token on."""

    def step(state, token):
        read, state = delta_rule_step(*token, state)
        return state, read

    b, _, h, k = inputs[0].shape
    tokens = tuple(jnp.moveaxis(x, 1, 0) for x in inputs)
    state, read = jax.lax.scan(step, jnp.zeros((b, h, k, k)), tokens)
    return jnp.moveaxis(read, 0, 1), state


def random_inputs(key, t: int, k: int = 6, decay: float = 3.0):
    """As the layer makes them: bounded decays, unit directions, rates between 0 and 1."""
    keys = jax.random.split(key, 6)
    r, key, v, a, rate, w = (jax.random.normal(each, (2, t, 2, k)) for each in keys)
    a = a / jnp.linalg.norm(a, axis=-1, keepdims=True)
    return r, -SLOWEST * jax.nn.sigmoid(decay * w), key, v, -a, a * jax.nn.sigmoid(2 * rate)


@pytest.mark.parametrize(("t", "chunk"), [(1, 4), (21, 5), (70, 64)])
def test_chunks_equal_the_plain_recurrence_in_value_and_gradient(t, chunk):
    inputs = random_inputs(jax.random.key(t), t)
    chunked = jax.jit(delta_rule, static_argnums=6)(*inputs, chunk)
    stepped = jax.jit(plain_jax)(*inputs)
    for found, also, expected in zip(chunked, stepped, plain(*inputs)):
        np.testing.assert_allclose(found, expected, atol=2e-5)
        np.testing.assert_allclose(also, expected, atol=2e-5)

    def gradient(rule):
        def score(*inputs):
            read, state = rule(*inputs)
            return (jnp.sin(read) * jnp.arange(t)[:, None, None]).mean() + (state**2).sum()

        return jax.jit(jax.grad(score, tuple(range(6))))(*inputs)

    for found, expected in zip(gradient(lambda *x: delta_rule(*x, chunk)), gradient(plain_jax)):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=5e-5)


def test_texts_of_a_row_have_a_state_each():
    """Texts that end within, at and beyond the edges of chunks."""
    ends = (3, 5, 6, 15, 21)
    inputs, first_BT = random_inputs(jax.random.key(0), ends[-1]), np.zeros((2, ends[-1]), bool)
    first_BT[:, (0, *ends[:-1])] = True
    read, state = jax.jit(delta_rule, static_argnums=6)(*inputs, 5, first_BT)
    for start, end in zip((0, *ends), ends):
        expected, last = plain(*(x[:, start:end] for x in inputs))
        np.testing.assert_allclose(read[:, start:end], expected, atol=2e-5)
    np.testing.assert_allclose(state, last, atol=2e-5)


@pytest.mark.parametrize("chunk", [16, 64])
def test_keys_that_repeat_without_decay_lose_no_precision(chunk):
    """Every token takes out and puts in the same direction at full rate: powers of the system's matrix reach
    10^17 in a chunk of 64, its inverse stays small."""
    t, k = 128, 8
    v = jax.random.normal(jax.random.key(0), (1, t, 1, k))
    direction = jnp.broadcast_to(jnp.ones(k) / k**0.5, v.shape)
    inputs = (direction, jnp.zeros_like(v), direction, v, -direction, direction)
    read, state = jax.jit(delta_rule, static_argnums=6)(*inputs, chunk)
    np.testing.assert_allclose(read, v, atol=5e-5)  # all that was known is taken out, so the newest is read
    np.testing.assert_allclose(state, plain(*inputs)[1], atol=5e-5)


def test_inverse_of_a_triangular_system_and_its_gradient():
    a = jnp.tril(jax.random.normal(jax.random.key(0), (3, 11, 11)), -1)

    def solved(a):
        return jnp.linalg.inv(jnp.eye(11) - a)

    np.testing.assert_allclose(jax.jit(inverse)(a), solved(a), rtol=1e-3, atol=1e-3)

    def gradient(function):
        return jnp.tril(jax.jit(jax.grad(lambda a: jnp.sin(function(0.3 * a)).sum()))(a), -1)

    np.testing.assert_allclose(gradient(inverse), gradient(solved), rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def gradient():
    """Parameters of a small model with nothing left at 0, and a function from such to a loss's gradient."""
    model = models.build(RWKV7Config(31, 16, 2, 8, 16, 2, 2, 2, 2, chunk=16))
    params = drawn(model)
    tokens_BT = jax.random.randint(jax.random.key(1), (2, 20), 0, 31)
    return params, jax.jit(
        jax.grad(lambda p: jnp.square(jax.nn.log_softmax(model.apply(p, tokens_BT))).mean())
    )


def disturbed(numbers: np.random.Generator, p: jax.Array) -> np.ndarray:
    return np.asarray(p) + 8 * numbers.standard_normal(p.shape, np.float32)


def test_extreme_parameters_leave_the_gradient_finite(gradient):
    """Decays at both of their ends, rates 0 and 1, and directions of length zero in the first layer."""
    params, gradient_at = gradient
    for seed in range(8):
        wild = jax.tree.map(functools.partial(disturbed, np.random.default_rng(seed)), params)
        wild["blocks"]["time_mix"]["w_k"][0] = 0.0
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient_at(wild)))


def test_mix_of_values_does_nothing_in_the_first_layer_and_something_after_it(gradient):
    params, gradient_at = gradient
    of_time_mix = gradient_at(params)["blocks"]["time_mix"]
    for name in ("value", "value_in", "value_out"):
        first, second = of_time_mix[name]
        assert (np.asarray(first) == 0).all()
        assert (np.abs(second) > 0).any()


def test_a_chunk_beyond_the_range_of_float32_is_refused():
    with pytest.raises(ValueError, match="chunk=128"):
        RWKV7Config(31, 16, 2, 8, 16, 2, 2, 2, 2, chunk=128)


def test_state_is_that_of_an_independent_implementation():
    """The golden state of the rwkv package after 10 tokens; from there on its logits."""
    folder = Path("tests/data/hf/rwkv7")
    config, params = hf.load(folder)
    golden, model = np.load(folder / "golden.npz"), models.build(config)
    tokens_BT = jnp.asarray(golden["input_ids"])
    with jax.default_matmul_precision("highest"):
        prefill, decode = jax.jit(model.prefill, static_argnums=3), jax.jit(model.decode)
        _, cache = prefill(params, tokens_BT[:, :10], jnp.array([10, 10]), 24)
        theirs = {"time_x": "att_x", "channel_x": "ffn_x", "matrix": "att_kv"}
        for name, state in cache.items():
            np.testing.assert_allclose(state.swapaxes(0, 1), golden[f"state10_{theirs[name]}"], atol=1e-4)
        for t in range(10, 24):
            logits_BV, cache = decode(params, tokens_BT[:, t], cache)
            np.testing.assert_allclose(logits_BV, golden["logits"][:, t], atol=1e-4)
