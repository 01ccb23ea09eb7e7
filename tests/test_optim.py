"""Schedules at their corners, AdamW by hand, and what is decayed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import optim
from experiments.config import DataConfig, OptimizerConfig, RunConfig, ScheduleConfig
from models.presets import ladder


def run(schedule: ScheduleConfig, n_steps: int = 100, **numbers) -> RunConfig:
    optimizer = OptimizerConfig(**({"lr": 0.5} | numbers))
    return RunConfig(ladder(16, 259), DataConfig(), optimizer, schedule, 64, 8, 64 * n_steps)


def rates(config: RunConfig) -> np.ndarray:
    hyper = optim.hyperparameters(config)
    steps = jnp.arange(config.n_steps)
    return np.array(jax.vmap(lambda s: optim.learning_rate(config.schedule.name, s, hyper))(steps))


def test_wsd_warms_up_holds_and_decays_linearly():
    lr = rates(run(ScheduleConfig("wsd", warmup=0.1, decay=0.2, final=0.1)))
    np.testing.assert_allclose(lr[:10], 0.5 * (np.arange(10) + 0.5) / 10, rtol=1e-5)
    np.testing.assert_allclose(lr[10:80], 0.5, rtol=1e-6)
    np.testing.assert_allclose(lr[80:], 0.5 - 0.45 * (np.arange(20) + 0.5) / 20, rtol=1e-4)


def test_cosine_falls_from_peak_to_final():
    lr = rates(run(ScheduleConfig("cosine", warmup=0.1, decay=0.0, final=0.2)))
    assert lr.argmax() in (10, 11) and np.isclose(lr.max(), 0.5, rtol=1e-3)
    assert np.isclose(lr[-1], 0.1, rtol=0.01)
    assert np.isclose(lr[54], 0.3, rtol=0.02)  # half way down


@pytest.mark.parametrize("warmup, decay", [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
def test_schedules_are_finite_at_their_extremes(warmup, decay):
    for name in ("wsd", "cosine"):
        assert np.isfinite(rates(run(ScheduleConfig(name, warmup, decay)))).all()


def test_adamw_step_by_hand():
    """First step: update = -lr · (g/|g| + wd · p), as the corrected moments cancel; scales do not decay."""
    hyper = optim.hyperparameters(run(ScheduleConfig(), weight_decay=0.25, clip_norm=np.inf, eps=0.0))
    params = {"layer": {"w": jnp.array([2.0, -4.0]), "scale": jnp.array([3.0])}}
    grads = {"layer": {"w": jnp.array([0.1, 5.0]), "scale": jnp.array([-7.0])}}
    step = optim.optimizer("adamw", hyper, jnp.float32(0.5))
    updates, _ = step.update(grads, optim.init_state("adamw", params), params)
    np.testing.assert_allclose(updates["layer"]["w"], [-0.5 * (1 + 0.5), -0.5 * (1 - 1.0)], rtol=1e-5)
    np.testing.assert_allclose(updates["layer"]["scale"], [0.5], rtol=1e-5)


def test_gradients_are_clipped_by_their_global_norm():
    hyper = optim.hyperparameters(
        run(ScheduleConfig(), clip_norm=1.0, b1=0.0, b2=0.0, eps=1.0, weight_decay=0.0)
    )
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    grads = {"a": jnp.array([6.0, 0.0]), "b": jnp.array([8.0])}
    step = optim.optimizer("adamw", hyper, jnp.float32(1.0))
    updates, _ = step.update(grads, optim.init_state("adamw", params), params)
    clipped = {"a": np.array([0.6, 0]), "b": np.array([0.8])}
    jax.tree.map(
        lambda u, g: np.testing.assert_allclose(u, -g / (np.abs(g) + 1), rtol=1e-5), updates, clipped
    )
    assert optax.tree.norm(clipped) == pytest.approx(1.0)
