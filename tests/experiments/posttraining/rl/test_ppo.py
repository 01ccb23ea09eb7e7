"""PPO's losses against PyTorch's, and what clipping does to gradients."""

import jax
import jax.numpy as jnp
import pytest

from experiments.posttraining.estimators.token_logps import masked_mean
from experiments.posttraining.rl.ppo import adapted_kl_coef, outside, policy_losses, value_losses
from tests.experiments.posttraining.golden import assert_equal, golden

__all__ = ["golden"]


def test_policy_loss_and_gradient_equal_the_golden_ones(golden):
    clip, mask_BT = golden["ppo_clip"], golden["ppo_mask"]

    def loss(logps_BT):
        losses_BT, bound_BT = policy_losses(
            logps_BT, golden["ppo_old_logps"], golden["ppo_advantages"], clip, clip
        )
        return masked_mean(losses_BT, mask_BT), masked_mean(bound_BT, mask_BT)

    (value, clip_fraction), gradient_BT = jax.value_and_grad(loss, has_aux=True)(golden["ppo_new_logps"])
    assert_equal(value, golden["ppo_policy_loss"])
    assert_equal(clip_fraction, golden["ppo_clip_fraction"])
    assert_equal(gradient_BT, golden["ppo_grad_new_logps"])
    outside_BT = outside(golden["ppo_new_logps"], golden["ppo_old_logps"], clip, clip)
    assert_equal(masked_mean(outside_BT, mask_BT), golden["ppo_ratio_outside_fraction"])


def test_value_loss_and_gradient_equal_the_golden_ones(golden):
    def loss(values_BT, clip=golden["ppo_value_clip"]):
        losses_BT, _ = value_losses(values_BT, golden["ppo_values_old"], golden["ppo_returns"], clip)
        return masked_mean(losses_BT, golden["ppo_mask"])

    values_BT = golden["ppo_values_new"]
    assert_equal(loss(values_BT), golden["ppo_value_loss"])
    assert_equal(loss(values_BT, jnp.inf), golden["ppo_value_loss_unclipped"])
    assert_equal(jax.grad(loss)(values_BT), golden["ppo_grad_values_new"])


@pytest.mark.parametrize(
    ("ratio", "advantage", "gradient"),
    [
        (1.0, 2.0, 2.0),
        (1.25, 2.0, 0.0),  # above 1 + ε_high and still better: no more of it
        (1.25, -2.0, -2.5),  # above and worse: back without bound
        (0.75, -2.0, 0.0),  # below 1 − ε_low and worse: enough
        (0.75, 2.0, 1.5),
        (1.15, 2.0, 2.3),  # the sides have their own ε
        (0.85, -2.0, 0.0),
    ],
)
def test_only_tokens_that_go_too_far_in_the_right_direction_are_clipped(ratio, advantage, gradient):
    def loss(logp):
        losses, bound = policy_losses(logp, jnp.log(0.5), jnp.array([[advantage]]), 0.1, 0.2)
        return losses.sum(), bound

    found, bound = jax.grad(loss, has_aux=True)(jnp.log(jnp.array([[0.5 * ratio]])))
    assert -found[0, 0] == pytest.approx(gradient, rel=1e-5)
    assert bool(bound[0, 0]) == (gradient == 0)


def test_a_value_is_not_pulled_further_than_the_clip():
    """The old value is 1, the return 3: at 1.1 it is pulled on, beyond 1.2 it is not."""
    old, returns = jnp.array([[1.0]]), jnp.array([[3.0]])

    def loss(value):
        losses, bound = value_losses(value, old, returns, 0.2)
        return losses.sum(), bound

    for value, gradient, expected, binds in ((1.1, -1.9, 1.9**2 / 2, False), (1.5, 0, 1.8**2 / 2, True)):
        (found, bound), slope = jax.value_and_grad(loss, has_aux=True)(jnp.array([[value]]))
        assert found == pytest.approx(expected, rel=1e-5) and slope[0, 0] == pytest.approx(gradient, rel=1e-5)
        assert bool(bound[0, 0]) == binds


@pytest.mark.parametrize(
    ("kl", "factor"), [(6.0, 1.0), (6.6, 1.001), (12.0, 1.002), (0.0, 0.998), (5.4, 0.999)]
)
def test_the_kl_coefficient_goes_towards_its_target_by_bounded_steps(kl, factor):
    assert adapted_kl_coef(0.05, kl, 6.0, 100, 10_000) == pytest.approx(0.05 * factor, rel=1e-5)
