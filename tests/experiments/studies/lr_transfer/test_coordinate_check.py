"""The coordinate check: where activations are read, and that their change is that of real steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from experiments.config import OptimizerConfig
from experiments.studies.lr_transfer.coordinate_check import PLACES, activations, changes
from experiments.training.loss import training_loss
from models import TransformerConfig

CONFIG = TransformerConfig(31, 8, 2, 2, 1, 4, 12)
MODEL = models.build(CONFIG)
BATCHES = [np.random.default_rng(i).integers(0, 31, (2, 7)).astype(np.int32) for i in (0, 1)]


@pytest.fixture(scope="module")
def params():
    return jax.jit(MODEL.init)(jax.random.key(5))


def test_activations_are_read_before_between_and_after_the_layers(params):
    tokens_BT = jnp.asarray(BATCHES[0][:, :-1])
    found = jax.jit(lambda params: activations(MODEL, params, tokens_BT))(params)
    assert set(found) == set(PLACES)
    x_BTD = params["ends"]["embedding"][tokens_BT]
    unit_BTD = x_BTD / np.sqrt((x_BTD**2).mean(axis=-1, keepdims=True) + CONFIG.norm_eps)
    np.testing.assert_allclose(found["embedding"], unit_BTD, rtol=1e-5)
    # The second layer adds nothing to the stream: what is after all layers is what is after the first.
    last = {"attention": "w_o", "mlp": "w_down"}
    silent = {
        part: params["blocks"][part] | {w: params["blocks"][part][w].at[1].set(0)} for part, w in last.items()
    }
    after_one = jax.jit(MODEL.hidden)(params | {"blocks": params["blocks"] | silent}, tokens_BT)[0]
    np.testing.assert_allclose(found["half the layers"], after_one, atol=1e-5)
    x_BTD, _ = jax.jit(MODEL.hidden)(params, tokens_BT)
    np.testing.assert_allclose(found["all layers"], x_BTD, atol=1e-5)
    np.testing.assert_allclose(found["logits"], x_BTD @ params["ends"]["head"], atol=1e-5)


@pytest.mark.slow
def test_changes_are_those_of_as_many_steps_at_the_full_rate(params):
    """Of AdamW as optax has it, one on each batch, all seen on the first."""
    optimizer = optax.adamw(0.01, b1=0.8, b2=0.95, eps=1e-6, weight_decay=0)

    @jax.jit
    def expected(params):
        trained, state = params, optimizer.init(params)
        for batch in BATCHES:
            grads = jax.grad(lambda p, batch=batch: training_loss(MODEL, p, batch)[0])(trained)
            updates, state = optimizer.update(grads, state, trained)
            trained = optax.apply_updates(trained, updates)
        before, after = (activations(MODEL, p, BATCHES[0][:, :-1]) for p in (params, trained))
        return {place: jnp.abs(after[place] - before[place]).mean() for place in PLACES}

    how = OptimizerConfig(0.01, 0.8, 0.95, 1e-6, weight_decay=0.0, clip_norm=np.inf)
    found = changes(CONFIG, how, BATCHES, seed=5)
    assert tuple(found) == PLACES and all(0.01 < change < 1 for change in found.values())
    for place, change in expected(params).items():
        np.testing.assert_allclose(found[place], change, rtol=1e-3, err_msg=place)
