"""DPO's losses against PyTorch's, by hand, and at the optimum that the theory gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.posttraining.dpo import LOSSES, dpo_losses, hinge_losses, ipo_losses, log_ratio_margin
from tests.experiments.posttraining.golden import assert_equal, golden

__all__ = ["golden"]
pytestmark = pytest.mark.usefixtures("quick_compilation")


def h(golden, **replaced):
    names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
    return log_ratio_margin(*(replaced.get(name, golden[f"dpo_{name}"]) for name in names))


def test_losses_equal_the_golden_ones(golden):
    beta, smoothing = golden["dpo_beta"], golden["dpo_label_smoothing"]
    assert_equal(dpo_losses(h(golden), beta), golden["dpo_loss_per_pair"])
    assert_equal(dpo_losses(h(golden), beta).mean(), golden["dpo_loss"])
    assert_equal(dpo_losses(h(golden), beta, smoothing).mean(), golden["cdpo_loss"])
    assert_equal(ipo_losses(h(golden), beta).mean(), golden["ipo_loss"])
    assert_equal(hinge_losses(h(golden), beta).mean(), golden["hinge_loss"])


def test_the_margin_is_that_of_the_golden_implicit_rewards(golden):
    margin_B = golden["dpo_reward_chosen"] - golden["dpo_reward_rejected"]
    assert_equal(golden["dpo_beta"] * h(golden), margin_B)
    assert_equal((h(golden) > 0).mean(), golden["dpo_accuracy"])


@pytest.mark.parametrize("side", ["policy_chosen", "policy_rejected"])
def test_gradients_equal_the_golden_ones(side, golden):
    def loss(logps_B):
        return dpo_losses(h(golden, **{side: logps_B}), golden["dpo_beta"]).mean()

    assert_equal(jax.grad(loss)(golden[f"dpo_{side}"]), golden[f"dpo_grad_{side}"])


@pytest.mark.parametrize("name", LOSSES)
def test_smoothing_one_half_does_not_prefer_either_side(name):
    h_B = jnp.array([0.7, -3.0, 12.0])
    losses = LOSSES[name]
    np.testing.assert_allclose(losses(h_B, 0.2, 0.5), losses(-h_B, 0.2, 0.5), rtol=1e-6)
    np.testing.assert_allclose(losses(h_B, 0.2, 1.0), losses(-h_B, 0.2), rtol=1e-6)


def test_by_hand():
    h_B = jnp.array([2.0, -2.0])
    np.testing.assert_allclose(ipo_losses(h_B, 0.25), [0, 16], rtol=1e-6)
    np.testing.assert_allclose(hinge_losses(h_B, 0.25), [0.5, 1.5], rtol=1e-6)
    np.testing.assert_allclose(dpo_losses(h_B, 0.5), np.log1p(np.exp([-1.0, 1.0])), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.3])
def test_a_smoothed_losss_least_is_at_the_log_odds_of_the_labels(smoothing):
    """cDPO's h is logit(1 − ε)/β: finite, where DPO's is infinite."""
    best = np.log((1 - smoothing) / smoothing) / 0.2
    gradient = jax.grad(lambda h: dpo_losses(h, 0.2, smoothing))(best)
    assert abs(gradient) < 1e-6
