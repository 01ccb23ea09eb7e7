"""Choosing what trains: the rest keeps its bits through real optimizer steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import models
from models import Experts, TransformerConfig, partial_training

MODEL = models.build(TransformerConfig(31, 12, 1, 2, 1, 6, 8, family="moe", experts=Experts(4, 2, 8)))
TOKENS_BT = jax.random.randint(jax.random.key(2), (2, 6), 0, 31)


@pytest.fixture(scope="module")
def params():
    return jax.jit(MODEL.init)(jax.random.key(0))


def test_frozen_parameters_keep_their_bits_and_the_others_move(params):
    trainable, frozen = partial_training.split(
        params, "blocks/attention/w_?", "blocks/mlp/w_*", "*norm/scale"
    )
    optimizer = optax.adamw(0.1, weight_decay=0.1)

    @jax.jit
    def step(trainable, frozen, state):
        def loss(trainable):
            return (MODEL.apply(partial_training.join(trainable, frozen), TOKENS_BT) ** 2).mean()

        updates, state = optimizer.update(jax.grad(loss)(trainable), state, trainable)
        return optax.apply_updates(trainable, updates), state

    trained, state = trainable, optimizer.init(trainable)
    for _ in range(3):
        trained, state = step(trained, frozen, state)
    after = partial_training.join(trained, frozen)
    assert jax.tree.structure(after) == jax.tree.structure(params)
    stay = {("ends", "embedding"), ("ends", "head"), ("blocks", "mlp", "router")}
    for path, leaf in partial_training.leaves(params).items():
        assert np.array_equal(partial_training.leaves(after)[path], leaf) == (path in stay), path


def test_parts_are_disjoint_and_join_to_the_whole(params):
    trainable, frozen = partial_training.split(params, "ends/*")
    assert set(trainable) == {"ends"} and set(frozen) == {"blocks"}
    jax.tree.map(np.testing.assert_array_equal, partial_training.join(trainable, frozen), params)
    everything, nothing = partial_training.split({"a": {"b": jnp.ones(2)}, "c": jnp.ones(1)}, "*")
    assert len(jax.tree.leaves(everything)) == 2 and nothing == {}


def test_a_pattern_that_matches_nothing_is_refused_with_paths_near_it(params):
    with pytest.raises(ValueError, match=r"'blocks/attention/wq'; near it are .*blocks/attention/w_q"):
        partial_training.split(params, "ends/*", "blocks/attention/wq")
