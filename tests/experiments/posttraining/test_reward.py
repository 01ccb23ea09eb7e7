"""The loss of pairs against PyTorch's and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.posttraining.reward import centring_losses, correct, pair_losses
from tests.experiments.posttraining.golden import assert_equal, golden

__all__ = ["golden"]
pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_losses_and_gradients_equal_the_golden_ones(golden):
    chosen_B, rejected_B = golden["bt_chosen"], golden["bt_rejected"]
    assert_equal(pair_losses(chosen_B, rejected_B), golden["bt_loss_per_pair"])
    assert_equal(pair_losses(chosen_B, rejected_B).mean(), golden["bt_loss"])
    assert_equal(pair_losses(chosen_B, rejected_B, golden["bt_margin"]).mean(), golden["bt_loss_margin"])
    assert_equal(correct(chosen_B, rejected_B).mean(), golden["bt_accuracy"])
    gradient_B = jax.grad(lambda chosen_B: pair_losses(chosen_B, rejected_B).mean())(chosen_B)
    assert_equal(gradient_B, golden["bt_grad_chosen"])


def test_a_margin_asks_for_more_and_equal_rewards_are_half_right():
    one, two = jnp.array([1.0]), jnp.array([2.0])
    np.testing.assert_allclose(pair_losses(two, one, 1.0), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(pair_losses(two, one), np.log1p(np.exp(-1)), rtol=1e-6)
    assert correct(jnp.array([2.0, 1.0, 1.0]), jnp.array([1.0, 2.0, 1.0])).tolist() == [1, 0, 0.5]


def test_centring_pulls_the_mean_of_a_pair_to_zero_and_leaves_its_difference():
    assert centring_losses(jnp.array([3.0, 1.0]), jnp.array([-3.0, 2.0])).tolist() == [0, 9]
    gradients = jax.grad(lambda pair: centring_losses(*pair).sum())((jnp.array([1.0]), jnp.array([2.0])))
    assert [float(g[0]) for g in gradients] == [6, 6]


def test_large_differences_do_not_overflow():
    gradient = jax.grad(lambda x: pair_losses(x, jnp.zeros(1)).sum())(jnp.array([-1e4]))
    assert gradient[0] == pytest.approx(-1)
    assert pair_losses(jnp.array([-1e4]), jnp.zeros(1))[0] == pytest.approx(1e4)
