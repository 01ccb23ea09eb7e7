"""Gradients of an objective: of a batch in parts, and over the minibatches of what a step has collected."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.objective import Objective


def gradients(loss: Callable, params: Any, batch: Any, n_parts: int) -> tuple[Any, dict[str, jax.Array]]:
    """The gradient of a batch's loss, and what was measured, with the memory of one of `n_parts` parts.

    Parts may weigh differently (rows have more or fewer tokens that count): their gradients and measurements
    are added by weight and divided by that of all, which is the whole batch's gradient. Dividing each by its
    own, as many libraries did, gives tokens of short responses more weight.

    Args:
      loss: (params, batch) -> (mean, (weight, measured)).
      params: what is differentiated.
      batch: a tree of arrays [B, …].
      n_parts: divides B.
    """
    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if n_parts == 1:
        (_, (_, measured)), grads = value_and_grad(params, batch)
        return grads, measured

    def weighted(part: Any) -> tuple[jax.Array, Any]:
        (_, (weight, measured)), grads = value_and_grad(params, part)
        weight = jnp.float32(weight)
        # A part in which nothing counts may have no mean.
        return weight, jax.tree.map(lambda x: jnp.where(weight > 0, weight * x, 0), (grads, measured))

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, weighted(part)), None

    # Part k has rows k, k + n, k + 2n, …, so that every device of a mesh has rows of each part.
    parts = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, n_parts, *x.shape[1:]), 0, 1), batch)
    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), parts)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(weighted, first))
    (weight, total), _ = jax.lax.scan(add, zeros, parts)
    return jax.tree.map(lambda x: x / weight, total)


def over_minibatches(update: Callable, state: Any, experience: Any, objective: Objective) -> tuple[Any, Any]:
    """The state after `objective.epochs` passes over the experience in `objective.minibatches` updates each.

    Every pass shuffles the rows anew, by a key of the experience's own first seed. Measurements are means
    over the updates.

    Args:
      update: (state, batch) -> (state, measured).
      state: parameters and optimizer state.
      experience: a tree of arrays [B, …]; with "seeds" uint32[B] if there is more than one update.
      objective: how often and in how many parts.

    Raises:
      ValueError: the minibatches do not divide the rows.
    """
    n_rows = len(jax.tree.leaves(experience)[0])
    if n_rows % objective.minibatches:
        raise ValueError(f"objective: minibatches={objective.minibatches} does not divide the {n_rows} rows")
    if objective.epochs == objective.minibatches == 1:
        return update(state, experience)
    key = jax.random.key(experience["seeds"][0])

    def rows_of_epoch(epoch: jax.Array) -> jax.Array:
        rows = jax.random.permutation(jax.random.fold_in(key, epoch), n_rows)
        return rows.reshape(objective.minibatches, -1)

    def step(state: Any, rows: jax.Array) -> tuple[Any, Any]:
        return update(state, jax.tree.map(lambda x: x[rows], experience))

    rows_NB = jax.vmap(rows_of_epoch)(jnp.arange(objective.epochs)).reshape(
        objective.epochs * objective.minibatches, -1
    )
    state, measured = jax.lax.scan(step, state, rows_NB)
    return state, jax.tree.map(lambda x: x.mean(axis=0), measured)
