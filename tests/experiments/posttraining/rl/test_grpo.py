"""GRPO's losses: how tokens are averaged, and the gradient of what is averaged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.posttraining.estimators.kl import k3
from experiments.posttraining.rl.grpo import normalized, token_losses
from experiments.posttraining.rl.ppo import policy_losses

LOSSES_BT = jnp.array([[1.0, 3.0, jnp.nan, jnp.nan], [2.0, 4.0, 6.0, 8.0], [5.0, jnp.nan, jnp.nan, jnp.nan]])
MASK_BT = jnp.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])


@pytest.mark.parametrize(
    ("normalization", "loss", "weight"),
    [
        ("token", (4 + 20 + 5) / 7, 7),
        ("sequence", (2 + 5 + 5) / 3, 3),
        ("constant", (4 + 20 + 5) / (3 * 8), 3),
    ],
)
def test_normalizations_by_hand(normalization, loss, weight):
    found, found_weight = normalized(LOSSES_BT, MASK_BT, normalization, 8)
    assert found == pytest.approx(loss, rel=1e-6) and found_weight == weight


@pytest.mark.parametrize("normalization", ["token", "sequence", "constant"])
def test_weighted_micro_batches_make_the_whole_batch(normalization):
    whole, _ = normalized(LOSSES_BT, MASK_BT, normalization, 4)
    parts = [normalized(LOSSES_BT[rows], MASK_BT[rows], normalization, 4) for rows in (slice(1), slice(1, 3))]
    together = sum(loss * weight for loss, weight in parts) / sum(weight for _, weight in parts)
    assert together == pytest.approx(float(whole), rel=1e-6)


@pytest.mark.parametrize("normalization", ["token", "sequence"])
def test_responses_without_tokens_do_not_spoil_the_mean(normalization):
    loss, weight = normalized(LOSSES_BT, jnp.zeros_like(MASK_BT), normalization, 4)
    assert loss == 0 and weight >= 1


def test_losses_are_ppos_with_a_responses_advantage_and_the_kl_term():
    rng = np.random.default_rng(0)
    logps_BT, old_BT, reference_BT = (jnp.asarray(rng.normal(size=(2, 5)) - 3, jnp.float32) for _ in range(3))
    losses_BT, bound_BT = token_losses(logps_BT, old_BT, reference_BT, jnp.array([1.5, -0.5]), 0.1, 0.3, 0.04)
    advantages_BT = jnp.repeat(jnp.array([[1.5], [-0.5]]), 5, axis=1)
    expected_BT, expected_bound_BT = policy_losses(logps_BT, old_BT, advantages_BT, 0.1, 0.3)
    expected_BT = expected_BT + 0.04 * k3(logps_BT, reference_BT)
    np.testing.assert_allclose(losses_BT, expected_BT, rtol=1e-6)
    np.testing.assert_array_equal(bound_BT, expected_bound_BT)


def test_on_policy_the_gradient_is_that_of_advantage_times_log_probability():
    logps_BT, advantages_B = jnp.array([[-1.0, -2.0], [-0.5, -3.0]]), jnp.array([2.0, -1.0])
    gradient_BT = jax.grad(
        lambda x: token_losses(x, logps_BT, logps_BT, advantages_B, 0.2, 0.2, 0.7)[0].sum()
    )(logps_BT)
    np.testing.assert_allclose(gradient_BT, [[-2, -2], [1, 1]], rtol=1e-6)
