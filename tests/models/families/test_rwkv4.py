"""RWKV-4's average: equal to a plain recurrence, gradient and all; stable; an independent one's state."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from models import hf
from models.layers.wkv import CHUNK, wkv, wkv_state


def plain(k, v, decay, bonus):
    """The definition, token by token in numpy: averages [B,T,A], and the sums of what has come before."""
    k, v, decay, bonus = (np.asarray(x, np.float64) for x in (k, v, decay, bonus))
    total, weight, averages = 0 * k[:, 0], 0 * k[:, 0], []
    for k_t, v_t in zip(k.swapaxes(0, 1), v.swapaxes(0, 1)):
        own = np.exp(bonus + k_t)
        averages.append((total + own * v_t) / (weight + own))
        total = np.exp(-decay) * total + np.exp(k_t) * v_t
        weight = np.exp(-decay) * weight + np.exp(k_t)
    return np.stack(averages, 1), total, weight


def plain_jax(k, v, decay, bonus):
    """The same, for automatic differentiation."""

    def step(past, token):
        (total, weight), (k_t, v_t) = past, token
        own = jnp.exp(bonus + k_t)
        later = jnp.exp(-decay) * total + jnp.exp(k_t) * v_t, jnp.exp(-decay) * weight + jnp.exp(k_t)
        return later, (total + own * v_t) / (weight + own)

    nothing = jnp.zeros_like(k[:, 0])
    return jax.lax.scan(step, (nothing, nothing), (k.swapaxes(0, 1), v.swapaxes(0, 1)))[1].swapaxes(0, 1)


def random_inputs(t: int, a: int = 5):
    keys = jax.random.split(jax.random.key(t), 4)
    k, v = 2 * jax.random.normal(keys[0], (2, t, a)), jax.random.normal(keys[1], (2, t, a))
    return k, v, jnp.exp(2 * jax.random.normal(keys[2], (a,))), jax.random.normal(keys[3], (a,))


@pytest.mark.parametrize("t", [1, CHUNK, 3 * CHUNK + 7])
def test_average_and_its_gradient_are_those_of_the_plain_recurrence(t):
    inputs = random_inputs(t)
    np.testing.assert_allclose(jax.jit(wkv)(*inputs), plain(*inputs)[0], rtol=1e-4, atol=1e-5)

    def gradient(average):
        direction = jax.random.normal(jax.random.key(0), inputs[0].shape)
        return jax.jit(jax.grad(lambda *x: (average(*x) * direction).sum(), (0, 1, 2, 3)))(*inputs)

    for found, expected in zip(gradient(wkv), gradient(plain_jax)):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-5)


def test_texts_of_a_row_average_each_for_itself_gradient_and_all():
    """Texts that end within, at and beyond the edges of chunks."""
    ends = (CHUNK // 2, CHUNK, CHUNK + 1, 3 * CHUNK + 7)
    inputs, first_BT = random_inputs(ends[-1]), np.zeros((2, ends[-1]), bool)
    first_BT[:, (0, *ends[:-1])] = True

    def one_by_one(k, v, *others):
        texts = [slice(*each) for each in zip((0, *ends), ends)]
        return jnp.concatenate([plain_jax(k[:, text], v[:, text], *others) for text in texts], axis=1)

    def value_and_gradient(average):
        direction = jax.random.normal(jax.random.key(0), inputs[0].shape)
        score = lambda *x: (average(*x) * direction).sum()  # noqa: E731
        return jax.jit(jax.value_and_grad(score, (0, 1, 2, 3)))(*inputs)

    found, expected = value_and_gradient(lambda *x: wkv(*x, first_BT)), value_and_gradient(one_by_one)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), found, expected)


def test_state_is_that_of_the_plain_recurrence_at_each_rows_length():
    k, v, decay, bonus = random_inputs(40)
    state = jax.jit(wkv_state)(k, v, decay, jnp.array([40, 3]))
    for row, length in enumerate((40, 3)):
        _, total, weight = plain(k[:, :length], v[:, :length], decay, bonus)
        scale = np.exp(state["log_scale"][row])
        np.testing.assert_allclose(state["sum"][row] * scale, total[row], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(state["weight"][row] * scale, weight[row], rtol=1e-4)


def test_extreme_keys_and_decays_leave_loss_and_gradient_finite():
    """Keys of hundreds, decays from exp(-30) to exp(30): an average stays within the values' range."""

    @jax.jit
    @jax.vmap
    def run(key):
        keys = jax.random.split(key, 4)
        k, v = 300 * jax.random.normal(keys[0], (1, 70, 8)), jax.random.normal(keys[1], (1, 70, 8))
        log_decay = jax.random.uniform(keys[2], (8,), minval=-30.0, maxval=30.0)
        bonus = 100 * jax.random.normal(keys[3], (8,))

        def loss(k, v, log_decay, bonus):
            y = wkv(k, v, jnp.exp(log_decay), bonus)
            return (y**2).sum(), jnp.abs(y).max() <= jnp.abs(v).max() * 1.0001

        return jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)(k, v, log_decay, bonus)

    (losses, within), gradients = run(jax.random.split(jax.random.key(0), 64))
    assert np.isfinite(losses).all()
    assert within.all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_state_is_that_of_an_independent_implementation():
    """The golden state of transformers' RWKV after 10 tokens; from there on its logits."""
    folder = Path("tests/data/hf/rwkv")
    config, params = hf.load(folder)
    golden, model = np.load(folder / "golden.npz"), models.build(config)
    tokens_BT = jnp.asarray(golden["input_ids"])
    with jax.default_matmul_precision("highest"):
        prefill, decode = jax.jit(model.prefill, static_argnums=3), jax.jit(model.decode)
        _, cache = prefill(params, tokens_BT[:, :10], jnp.array([10, 10]), 24)
        theirs = {"time_x": "att_x", "channel_x": "ffn_x", "sum": "num", "weight": "den", "log_scale": "max"}
        for name, state_LBD in cache.items():
            expected_BDL = golden[f"state10_{theirs[name]}"]
            np.testing.assert_allclose(state_LBD.transpose(1, 2, 0), expected_BDL, atol=1e-4)
        for t in range(10, 24):
            logits_BV, cache = decode(params, tokens_BT[:, t], cache)
            np.testing.assert_allclose(logits_BV, golden["logits"][:, t], atol=1e-4)
