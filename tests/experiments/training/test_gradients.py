"""A batch in parts, and an experience in minibatches, by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.objective import Objective
from experiments.training.gradients import gradients, over_minibatches

NOTHING = Objective(init=lambda key: {}, axes={}, loss=lambda *_: None, measure=lambda *_: {})  # type: ignore


def loss(params, batch):
    """Mean over the tokens that count of (w·x)², rows having any number of them."""
    squares_BT = jnp.square(batch["x"] @ params["w"]) * batch["counts"]
    weight = batch["counts"].sum()
    return squares_BT.sum() / weight, (weight, {"square": squares_BT.sum() / weight})


jitted = jax.jit(functools.partial(gradients, loss), static_argnums=2)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 6]))
def test_parts_of_unequal_weights_give_the_whole_batchs_gradient(seed, n_parts):
    """Even where a part, or a row, has nothing that counts: its mean is 0/0."""
    rng = np.random.default_rng(seed)
    counts_BT = rng.random((6, 5)) < rng.random((6, 1))
    counts_BT[0, 0] = True
    batch = {"x": rng.normal(size=(6, 5, 3)).astype(np.float32), "counts": counts_BT.astype(np.float32)}
    params = {"w": jnp.asarray(rng.normal(size=3), jnp.float32)}
    whole, measured = jitted(params, batch, 1)
    parts, in_parts = jitted(params, batch, n_parts)
    np.testing.assert_allclose(parts["w"], whole["w"], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(in_parts["square"], measured["square"], rtol=2e-5)


def update(state, rows):
    """Notes which rows came, in order: the state is a number in base 10."""
    return state * 10 + rows["row"].sum(), {"row": rows["row"].mean().astype(jnp.float32)}


def test_every_pass_takes_every_row_once_in_an_order_of_its_own():
    experience = {"row": jnp.arange(6), "seeds": jnp.arange(6, dtype=jnp.uint32)}
    objective = dataclasses.replace(NOTHING, epochs=2, minibatches=3)
    seen = []

    def note(state, rows):
        return state.at[state[0, 0] + 1].set(rows["row"]).at[0, 0].add(1), {"row": rows["row"].mean()}

    state, measured = over_minibatches(note, jnp.zeros((7, 2), int), experience, objective)
    seen = np.asarray(state[1:]).reshape(2, 6).tolist()
    assert [sorted(each) for each in seen] == [list(range(6))] * 2 and seen[0] != seen[1]
    assert measured["row"] == pytest.approx(2.5)
    again, _ = over_minibatches(note, jnp.zeros((7, 2), int), experience, objective)
    assert (again == state).all()


def test_one_update_takes_the_rows_as_they_are():
    state, _ = over_minibatches(update, jnp.int32(0), {"row": jnp.array([3, 4])}, NOTHING)
    assert state == 7


def test_rows_that_make_no_whole_minibatches_are_refused():
    with pytest.raises(ValueError, match="minibatches=4 does not divide the 6 rows"):
        over_minibatches(update, 0, {"row": jnp.arange(6)}, dataclasses.replace(NOTHING, minibatches=4))
