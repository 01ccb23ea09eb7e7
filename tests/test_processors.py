"""Processors against Hugging Face's (data/processors.npz, transformers 5.24) and their definitions."""

import json
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from models.decoding import processors

GOLDEN = np.load(Path(__file__).parent / "data/processors.npz")
CASES = json.loads(str(GOLDEN["manifest"]))
NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
ARGUMENT = {"temperature": "t", "top_k": "k", "top_p": "p", "min_p": "p", "repetition_penalty": "penalty"}


def seen(ids_BT, n_vocab):
    return jnp.asarray([[token in row for token in range(n_vocab)] for row in np.asarray(ids_BT)])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['index']}-{case['name']}")
def test_processors_equal_hugging_face(case):
    chain = case.get("chain") or [(case["name"], case)]
    values = NEUTRAL | {name: parameters[ARGUMENT[name]] for name, parameters in chain}
    logits_BV = jnp.asarray(GOLDEN["logits"])
    out_BV = processors.process(logits_BV, seen(GOLDEN["input_ids"], logits_BV.shape[1]), values)
    np.testing.assert_allclose(out_BV, GOLDEN[f"out_{case['index']:02d}"], rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.sampled_from([1, 2, 40]), st.floats(0.01, 0.99))
def test_top_p_is_the_smallest_set_that_reaches_the_mass(seed, n_vocab, p):
    logits_BV = 3 * jax.random.normal(jax.random.key(seed), (2, n_vocab))
    kept_BV = np.isfinite(jax.jit(processors.top_p)(logits_BV, np.float32(p)))
    for kept_V, probs_V in zip(kept_BV, np.asarray(jax.nn.softmax(logits_BV), np.float64)):
        mass = probs_V[kept_V].sum()
        assert probs_V[kept_V].min() >= probs_V[~kept_V].max(initial=0)
        assert mass >= p - 1e-5
        assert kept_V.sum() == 1 or mass - probs_V[kept_V].min() < p + 1e-5


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from([-1e4, -2.0, -0.5, 0.0, 1e-30, 0.5, 3.0]), min_size=20, max_size=20),
    st.integers(1, 25),
)
def test_top_k_keeps_k_tokens_and_what_equals_the_last(logits, k):
    kept_V = np.isfinite(jax.jit(processors.top_k)(np.float32([logits]), np.int32(k))[0])
    kth = sorted(logits)[-min(k, len(logits))]
    np.testing.assert_array_equal(kept_V, [logit >= kth for logit in logits])


def test_equal_tokens_stay_together_in_top_p():
    out_BV = processors.top_p(jnp.asarray([[2.0, 0.0, 0.0, -5.0]]), 0.85)  # 0.78, 0.11, 0.11, 0.0007
    np.testing.assert_array_equal(np.isfinite(out_BV), [[True, True, True, False]])


def test_zero_temperature_is_argmax_for_any_finite_logits():
    logits_BV = jnp.asarray([[1e-30, 3e38, 3e38, -3e38], [-1.0, -1.0, -2.0, -jnp.inf]])
    out_BV = processors.temperature(logits_BV, jnp.float32(0))
    np.testing.assert_array_equal(out_BV, [[-np.inf, 0, -np.inf, -np.inf], [0, -np.inf, -np.inf, -np.inf]])


def test_neutral_values_change_nothing():
    logits_BV = jax.random.normal(jax.random.key(0), (3, 50))
    out_BV = processors.process(logits_BV, jnp.ones((3, 50), bool), NEUTRAL)
    np.testing.assert_array_equal(out_BV, logits_BV)


def test_every_setting_together_leaves_a_token():
    values = {"temperature": 0.0, "top_k": 1, "top_p": 1e-6, "min_p": 1.0, "repetition_penalty": 1.5}
    logits_BV = jax.random.normal(jax.random.key(0), (3, 50))
    out_BV = processors.process(logits_BV, jnp.zeros((3, 50), bool), values)
    np.testing.assert_array_equal(jnp.isfinite(out_BV).sum(axis=1), 1)
    np.testing.assert_array_equal(jnp.argmax(out_BV, axis=1), jnp.argmax(logits_BV, axis=1))


def test_a_changed_value_does_not_recompile():
    traces = []

    @jax.jit
    def traced(logits_BV, values):
        traces.append(1)
        return processors.process(logits_BV, jnp.zeros(logits_BV.shape, bool), values)

    for t, p in ((1.0, 0.9), (0.0, 1.0), (0.3, 0.2)):
        values = NEUTRAL | {"temperature": t, "top_p": p}
        traced(jnp.zeros((2, 9)), {name: jnp.float32(value) for name, value in values.items()})
    assert len(traces) == 1
