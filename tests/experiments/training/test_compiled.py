"""Compiled functions: packed runs compute what each of them would alone, and a step what it measures."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.training import optim
from experiments.training.loss import training_loss
from experiments.training.train import training_functions
from models import TransformerConfig

CONFIG = TransformerConfig(31, 8, 1, 2, 1, 4, 12)
TOKENS_KBT = np.random.default_rng(0).integers(0, 31, (2, 3, 7)).astype(np.int32)


@pytest.fixture(scope="module")
def single():
    return training_functions(CONFIG, "adamw", "wsd")


@pytest.fixture(scope="module")
def pair():
    return training_functions(CONFIG, "adamw", "wsd", None, 2)


def hyper(lr: float) -> optim.Hyper:
    """A run of ten steps, the first of which is half of its warm-up."""
    schedule = ScheduleConfig(warmup=0.1, decay=0.0)
    return optim.hyperparameters(
        RunConfig(CONFIG, DataConfig(), OptimizerConfig(lr, clip_norm=0.5), schedule, 18, 6, 180)
    )


def states(single) -> list:
    return [single.init(jax.random.key(seed)) for seed in (0, 1)]


def equal(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_step_measures_its_loss_gradient_and_rate(single):
    params, opt_state = single.init(jax.random.key(0))
    model, before = models.build(CONFIG), jax.tree.map(np.array, params)
    expected = jax.jit(jax.value_and_grad(lambda p: training_loss(model, p, TOKENS_KBT[0])[0]))
    loss, grads = jax.device_get(expected(before))
    params, opt_state, step, numbers = single.step(
        params, opt_state, jnp.int32(0), jnp.asarray(TOKENS_KBT[0]), hyper(0.1)
    )
    assert step == 1 and numbers.keys() == {"loss", "grad_norm", "lr"}
    assert numbers["loss"] == pytest.approx(loss, rel=1e-5)
    norm = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(grads)))
    assert norm > 0.5 and numbers["grad_norm"] == pytest.approx(norm, rel=1e-4)  # as it was before clipping
    assert numbers["lr"] == pytest.approx(0.05)
    assert expected(params)[0] < loss - 0.05


def test_measured_losses_are_means_over_the_tokens_of_each_row(single):
    params, _ = single.init(jax.random.key(0))
    logits = jax.jit(models.build(CONFIG).apply)(params, TOKENS_KBT[0][:, :-1])
    nats_BT = optax.softmax_cross_entropy_with_integer_labels(logits, TOKENS_KBT[0][:, 1:])
    losses_B = single.measure(params, TOKENS_KBT[0], hyper(0.1))["loss"]
    np.testing.assert_allclose(losses_B, nats_BT.mean(axis=1), rtol=1e-5)


def test_packed_states_are_unstacked_into_those_they_were_stacked_from(single, pair):
    first, second = states(single)
    packed = pair.stack(iter([first, second]))
    equal(pair.unstack(packed, 1), second)
    equal(pair.unstack(packed, 0), first)
    equal(single.unstack(single.stack(iter([first])), 0), first)
    with pytest.raises(ValueError, match="too many values"):
        single.stack([first, second])


def test_each_packed_run_takes_the_step_it_would_take_alone(single, pair):
    """With its own tokens, rate and state; what is measured on the same rows is measured for each."""
    hypers = [hyper(0.1), hyper(0.02)]
    stacked = jax.tree.map(lambda *numbers: jnp.stack(numbers), *hypers)
    packed = pair.stack(states(single))
    *packed, step, numbers = pair.step(*packed, jnp.int32(0), jnp.asarray(TOKENS_KBT), stacked, {})
    losses_KB = pair.measure(packed[0], TOKENS_KBT[0], stacked, {})["loss"]
    assert step.shape == () and step == 1
    for i, state in enumerate(states(single)):
        *state, _, alone = single.step(*state, jnp.int32(0), jnp.asarray(TOKENS_KBT[i]), hypers[i])
        for name, number in alone.items():
            np.testing.assert_allclose(numbers[name][i], number, rtol=1e-5)
        losses_B = single.measure(state[0], TOKENS_KBT[0], hypers[i])["loss"]
        np.testing.assert_allclose(losses_KB[i], losses_B, rtol=1e-5)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4),
            pair.unstack(tuple(packed), i)[0],
            state[0],
        )


def test_runs_of_one_shape_share_their_programs(single, pair):
    assert training_functions(CONFIG, "adamw", "wsd") is single is not pair
    assert training_functions(CONFIG, "adamw", "cosine") is not single
