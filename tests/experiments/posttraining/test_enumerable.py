"""All responses of a tiny task: each once, with the model's probabilities; nothing beats the optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import models
from experiments.posttraining import enumerable

ALL = enumerable.list_responses(4, 3)
CONFIG = models.TransformerConfig(
    vocab_size=4, d_model=8, n_layers=1, n_heads=2, n_kv_heads=1, d_head=4, d_ff=8
)
rewards = arrays(np.float64, 6, elements=st.floats(-2, 2))
logits = arrays(np.float64, 6, elements=st.floats(-3, 3))


@pytest.fixture(scope="module")
def model():
    return models.build(CONFIG)


@pytest.fixture(scope="module")
def params(model):
    return jax.tree.map(lambda x: 3 * x, jax.jit(model.init)(jax.random.key(0)))


def test_all_responses_are_listed_once():
    assert len(ALL.lengths_R) == 1 + 3 + 9 + 27
    assert len({tuple(row[:n]) for row, n in zip(ALL.tokens_RT.tolist(), ALL.lengths_R)}) == 40
    for row, n, ended in zip(ALL.tokens_RT, ALL.lengths_R, ALL.ended_R):
        assert (1 in row[:n]) == ended == (row[n - 1] == 1) and not row[n:].any()
        assert ended or n == 3


def test_too_many_responses_are_refused():
    with pytest.raises(ValueError, match="at most 100000 are listed"):
        enumerable.list_responses(259, 3)


def test_probabilities_are_the_models_token_by_token(model, params):
    prompt = np.array([2, 3, 3])
    logps_R = jax.jit(lambda p: enumerable.response_logps(model, p, prompt, ALL))(params)
    assert jnp.exp(logps_R).sum() == pytest.approx(1, abs=1e-6)
    logits_TV = jax.jit(model.apply)(params, jnp.array([[2, 3, 3, 3, 0, 1]]))[0]
    by_hand = sum(float(jax.nn.log_softmax(logits_TV[2 + t])[token]) for t, token in enumerate((3, 0, 1)))
    at = ALL.tokens_RT.tolist().index([3, 0, 1])
    assert logps_R[at] == pytest.approx(by_hand, abs=1e-5)


@jax.jit
def optimum_and_others(ref, reward, beta):
    """The optimum, its value, what it reaches, and what policies near it and far away do."""
    best, value = enumerable.optimum(ref, reward, beta)
    others = jax.nn.log_softmax(jnp.stack([ref, jnp.zeros(6), 0.9 * best + 0.1 * ref, 1.1 * best]))
    reached = jax.vmap(lambda logps: enumerable.objective(logps, ref, reward, beta))(others)
    return best, value, enumerable.objective(best, ref, reward, beta), reached


@given(logits, rewards, st.floats(0.05, 2))
def test_no_policy_is_better_than_the_optimum(ref, reward, beta):
    ref = ref - np.logaddexp.reduce(ref)
    with jax.enable_x64(True):
        best, value, reached, others = (np.asarray(x) for x in optimum_and_others(ref, reward, beta))
    assert np.exp(best).sum() == pytest.approx(1)
    assert reached == pytest.approx(value, abs=1e-9) and np.all(others <= value + 1e-9)


def test_the_gradient_vanishes_at_the_optimum_alone():
    rng = np.random.default_rng(0)
    ref, reward = np.log(rng.dirichlet(np.ones(8))), rng.standard_normal(8)
    gradient = jax.jit(jax.grad(lambda z: enumerable.objective(jax.nn.log_softmax(z), ref, reward, 0.5)))
    with jax.enable_x64(True):
        best, _ = enumerable.optimum(jnp.asarray(ref), jnp.asarray(reward), 0.5)
        np.testing.assert_allclose(gradient(best), 0, atol=1e-12)
        # At the reference the divergence is flat: what is left is the covariance with the reward.
        p = np.exp(ref)
        np.testing.assert_allclose(gradient(jnp.asarray(ref)), p * (reward - p @ reward), atol=1e-12)


def test_best_of_two_by_hand_with_equal_rewards():
    logps = enumerable.best_of_n_logps(np.log([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 1.0]), 2)
    # The bad one only if both are; otherwise 0.75, shared 3 : 2.
    np.testing.assert_allclose(np.exp(logps), [0.25, 0.45, 0.30], rtol=1e-12)


@given(logits, arrays(np.float64, 6, elements=st.sampled_from([-1.0, 0.0, 2.0])), st.integers(1, 64))
def test_best_of_n_is_a_distribution_within_its_bound(ref, reward, n):
    ref = ref - np.logaddexp.reduce(ref)
    best = enumerable.best_of_n_logps(ref, reward, n)
    assert np.exp(best).sum() == pytest.approx(1)
    with jax.enable_x64(True):
        divergence = float(jax.jit(enumerable.kl)(best, ref))
    assert -1e-9 <= divergence <= np.log(n) - (n - 1) / n + 1e-9
    if n == 1:
        np.testing.assert_allclose(best, ref, atol=1e-12)


def test_what_is_never_said_is_never_best():
    best = enumerable.best_of_n_logps(np.array([np.log(0.5), np.log(0.5), -np.inf]), np.array([0.0, 1, 2]), 4)
    np.testing.assert_allclose(np.exp(best), [1 / 16, 15 / 16, 0])


def test_total_variation_by_hand():
    half, sure = np.log([0.5, 0.5]), np.array([0.0, -np.inf])
    assert enumerable.total_variation(half, sure) == pytest.approx(0.5)
    assert enumerable.total_variation(half, half) == 0
