"""Estimators of KL against PyTorch's, against the exact KL over all samples, and in their signs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.posttraining.estimators.kl import KL_ESTIMATORS, entropy, exact_kl
from experiments.posttraining.estimators.token_logps import masked_mean
from tests.experiments.posttraining.golden import assert_equal, golden

__all__ = ["golden"]

P_V = jnp.array([0.3, -1.2, 0.8, 2.0])  # logits of a policy and of its reference
Q_V = jnp.array([0.1, 0.4, -0.5, 0.9])


@pytest.mark.parametrize("name", KL_ESTIMATORS)
def test_estimates_equal_the_golden_ones(name, golden):
    estimates_BT = KL_ESTIMATORS[name](golden["kl_policy_logps"], golden["kl_ref_logps"])
    mask_BT = golden["kl_mask"].astype(bool)
    assert_equal(jnp.where(mask_BT, estimates_BT, 0), np.where(mask_BT, golden[f"kl_{name}"], 0))
    assert_equal(masked_mean(estimates_BT, mask_BT), golden[f"kl_{name}_mean"])


def test_exact_kl_and_entropy_equal_the_golden_ones(golden):
    assert_equal(exact_kl(golden["klfull_policy_logits"], golden["klfull_ref_logits"]), golden["klfull"])
    assert_equal(entropy(golden["klfull_policy_logits"]), golden["entropy_policy"])


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_unbiased_over_samples_of_the_policy(name):
    """The mean over all samples, by their probabilities, is KL(policy‖reference) and not the other one."""
    logps_V, reference_V = jax.nn.log_softmax(P_V), jax.nn.log_softmax(Q_V)
    mean = jnp.sum(jnp.exp(logps_V) * KL_ESTIMATORS[name](logps_V, reference_V))
    assert mean == pytest.approx(float(exact_kl(P_V, Q_V)), rel=1e-5)
    assert mean != pytest.approx(float(exact_kl(Q_V, P_V)), rel=0.05)


@pytest.mark.parametrize(("name", "is_that_of_kl"), [("k2", True), ("k1", False), ("k3", False)])
def test_only_k2_has_the_gradient_of_kl_when_samples_are_constants(name, is_that_of_kl):
    def mean(logits_V):
        samples_V = jax.lax.stop_gradient(jax.nn.softmax(logits_V))
        return jnp.sum(samples_V * KL_ESTIMATORS[name](jax.nn.log_softmax(logits_V), jax.nn.log_softmax(Q_V)))

    difference_V = jax.grad(mean)(P_V) - jax.grad(exact_kl)(P_V, Q_V)
    assert (jnp.abs(difference_V).max() < 1e-6) == is_that_of_kl


def test_k3_is_never_negative_and_exact_for_close_policies():
    logps = jnp.linspace(-8, 0, 50)
    assert (KL_ESTIMATORS["k3"](logps, logps[::-1]) >= 0).all()
    x = np.linspace(1e-4, 3e-3, 7, dtype=np.float32)
    np.testing.assert_allclose(
        KL_ESTIMATORS["k3"](jnp.zeros(7), jnp.asarray(x)), x**2 / 2 + x**3 / 6, rtol=2e-3
    )


def test_kl_and_entropy_of_a_coin():
    assert exact_kl(jnp.log(jnp.array([0.75, 0.25])), jnp.zeros(2)) == pytest.approx(
        0.75 * np.log(1.5) + 0.25 * np.log(0.5), rel=1e-6
    )
    assert entropy(jnp.zeros((3, 2))).tolist() == pytest.approx([np.log(2)] * 3)
