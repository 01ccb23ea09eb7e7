"""Advantages against PyTorch's, against the sums of their definition, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.posttraining.estimators.advantages import (
    dr_grpo_advantages,
    generalized_advantages,
    grpo_advantages,
    rloo_advantages,
    shaped_rewards,
    whiten,
)
from experiments.posttraining.estimators.kl import k1
from tests.experiments.posttraining.golden import assert_equal, golden

__all__ = ["golden"]

gae = jax.jit(generalized_advantages)


@pytest.mark.parametrize("suffix", ["", "_bootstrap"])
def test_generalized_advantages_equal_the_golden_ones(suffix, golden):
    after_B = golden["gae_bootstrap_value"] if suffix else None
    advantages_BT, returns_BT = gae(
        golden["gae_rewards"],
        golden["gae_values"],
        golden["gae_mask"],
        golden["gae_gamma"],
        golden["gae_lambda"],
        after_B,
    )
    for found_BT, name in ((advantages_BT, "advantages"), (returns_BT, "returns")):  # these are of float32
        np.testing.assert_allclose(found_BT, golden[f"gae_{name}{suffix}"], rtol=0, atol=1e-6)


def test_whitened_advantages_equal_the_golden_ones(golden):
    whitened_BT = whiten(golden["gae_advantages"], golden["gae_mask"])
    assert_equal(whitened_BT, golden["gae_advantages_whitened"])


def test_shaped_rewards_equal_the_golden_ones(golden):
    kl_BT = k1(golden["kl_policy_logps"], golden["kl_ref_logps"])
    rewards_BT = shaped_rewards(golden["rlhf_score"], kl_BT, golden["kl_mask"], golden["rlhf_kl_coef"])
    assert_equal(rewards_BT, golden["rlhf_shaped_rewards"])


@pytest.mark.parametrize(("ddof", "name"), [(0, "popstd"), (1, "samplestd")])
def test_group_advantages_equal_the_golden_ones(ddof, name, golden):
    advantages_GK = grpo_advantages(golden["grpo_rewards"], ddof, float(golden["grpo_eps"]))
    assert_equal(advantages_GK, golden[f"grpo_advantages_{name}"])


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 4), st.integers(1, 5))
def test_generalized_advantages_are_their_definitions_sum(seed, gamma, lam, first, n):
    """Of a response of n tokens from `first` on, in a row with a prompt and padding that must not matter."""
    rng = np.random.default_rng(seed)
    rewards_T, values_T, after = rng.normal(size=10), rng.normal(size=10), rng.normal()
    mask_T = (np.arange(10) >= first) & (np.arange(10) < first + n)
    next_T = np.append(values_T[first + 1 : first + n], after)
    deltas_T = rewards_T[mask_T] + gamma * next_T - values_T[mask_T]
    expected_T = [sum((gamma * lam) ** k * d for k, d in enumerate(deltas_T[t:])) for t in range(n)]
    advantages_BT, returns_BT = gae(
        *(jnp.array([x]) for x in (rewards_T, values_T, mask_T)), gamma, lam, jnp.array([after])
    )
    np.testing.assert_allclose(advantages_BT[0][mask_T], expected_T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(returns_BT[0][mask_T], expected_T + values_T[mask_T], rtol=1e-4, atol=1e-5)
    assert not np.any(np.where(mask_T, 0, advantages_BT)) and not np.any(np.where(mask_T, 0, returns_BT))


def test_lambda_one_is_the_rest_of_the_response_minus_the_value():
    rewards_BT, values_BT = jnp.array([[1.0, 2.0, 4.0, 9.0]]), jnp.array([[0.5, 0.25, 0.125, 9.0]])
    advantages_BT, returns_BT = gae(rewards_BT, values_BT, jnp.array([[1, 1, 1, 0]]), 1.0, 1.0)
    assert returns_BT.tolist() == [[7, 6, 4, 0]]
    assert advantages_BT.tolist() == [[6.5, 5.75, 3.875, 0]]


def test_whitening_is_over_the_tokens_of_all_rows_that_are_kept():
    x_BT, mask_BT = jnp.array([[1.0, 3.0, jnp.inf], [5.0, 7.0, 100.0]]), jnp.array([[1, 1, 0], [1, 1, 0]])
    std = np.sqrt(5.0)
    np.testing.assert_allclose(whiten(x_BT, mask_BT), np.array([[-3, -1, 0], [1, 3, 0]]) / std, rtol=1e-6)
    np.testing.assert_allclose(
        whiten(x_BT, mask_BT, shift_mean=False),
        np.array([[4 - 3 / std, 4 - 1 / std, 0], [4 + 1 / std, 4 + 3 / std, 0]]),
        rtol=1e-6,
    )


def test_the_score_stands_at_the_last_token_and_kl_costs_at_every_one():
    mask_BT = jnp.array([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    rewards_BT = shaped_rewards(jnp.array([10.0, 20.0, 30.0]), jnp.full((3, 4), 2.0), mask_BT, 0.5)
    assert rewards_BT.tolist() == [[0, -1, 9, 0], [-1, -1, -1, 19], [0, 0, 0, 0]]


def test_groups_by_hand():
    rewards_GK = jnp.array([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])
    assert dr_grpo_advantages(rewards_GK).tolist() == [[-2, -1, 3], [0, 0, 0]]
    np.testing.assert_allclose(rloo_advantages(rewards_GK), [[1 - 4, 2 - 3.5, 6 - 1.5], [0, 0, 0]], rtol=1e-6)
    grpo_GK = grpo_advantages(rewards_GK, ddof=1, eps=0.0)
    np.testing.assert_allclose(grpo_GK[0], np.array([-2, -1, 3]) / np.sqrt(7), rtol=1e-6)
    np.testing.assert_allclose(grpo_advantages(rewards_GK)[1], 0)


def test_leaving_one_out_does_not_bias_the_policy_gradient_where_the_groups_mean_does():
    """E[A ∇log p] over all pairs of samples of a coin is ∇E[r] with RLOO, half of it with the mean."""
    p, r = np.array([0.3, 0.7]), np.array([5.0, 1.0])
    score = np.array([1 / p[0], -1 / p[1]])  # d log p(sample) / d p[0]
    expected = {rloo_advantages: r[0] - r[1], dr_grpo_advantages: (r[0] - r[1]) / 2}
    for advantages, gradient in expected.items():
        pairs = [(i, j) for i in (0, 1) for j in (0, 1)]
        A_GK = np.asarray(advantages(jnp.array([[r[i], r[j]] for i, j in pairs])))
        mean = sum(p[i] * p[j] * (A[0] * score[i] + A[1] * score[j]) / 2 for (i, j), A in zip(pairs, A_GK))
        assert mean == pytest.approx(gradient, rel=1e-5)
