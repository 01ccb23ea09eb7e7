"""How good items are, from who won: the models of Bradley & Terry (1952), Plackett (1975) and Luce (1959).

An item's strength is a number in nats: i beats j with probability σ(s_i − s_j). Only differences count.
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NEVER = -1e30  # strength of what is not there; finite, so that gradients are


def bradley_terry_logps(strengths_K: jax.Array, winners_N: jax.Array, losers_N: jax.Array) -> jax.Array:
    """log σ(s_winner − s_loser) of each comparison, [N], in nats; items by number."""
    return jax.nn.log_sigmoid(strengths_K[winners_N] - strengths_K[losers_N])


def plackett_luce_logps(strengths_K: jax.Array, rankings_NM: jax.Array) -> jax.Array:
    """Log-probability of each ranking, [N], in nats: the best by softmax, then the best of the rest.

    Of two items it is Bradley and Terry's.

    Args:
      strengths_K: of all items.
      rankings_NM: int, items by number from best to worst, −1 behind those that a ranking has.
    """
    there_NM = rankings_NM >= 0
    s_NM = jnp.where(there_NM, strengths_K[rankings_NM], NEVER)
    rest_NM = jax.lax.cumlogsumexp(s_NM, axis=1, reverse=True)  # of those that are not drawn yet
    return jnp.where(there_NM, s_NM - rest_NM, 0).sum(axis=1)


def fit_strengths(
    rankings: Sequence[Sequence[int]], n_items: int, weights: Sequence[float] | None = None
) -> np.ndarray:
    """Strengths float64[n_items] by maximum likelihood, of mean 0.

    Args:
      rankings: items by number, from best to worst; (winner, loser) for comparisons. One may have a part of
        the items. A tie is two comparisons of half the weight (`comparisons_of_tie`).
      n_items: how many items there are.
      weights: how often each ranking counts, default once.

    Raises:
      ValueError: unknown or repeated items in a ranking; or items that never lost to the others, whose
        strengths would be infinite (Ford 1957): which.
    """
    for ranking in rankings:
        if len(set(ranking)) < len(ranking) or not all(0 <= item < n_items for item in ranking):
            raise ValueError(f"ranking {tuple(ranking)}: it has each item once, of 0 to {n_items - 1}")
    _check_connected(rankings, n_items)
    width = max(len(ranking) for ranking in rankings)
    rankings_NM = jnp.array([[*ranking, *[-1] * (width - len(ranking))] for ranking in rankings])
    weights_N = np.ones(len(rankings)) if weights is None else np.asarray(weights, float)

    def loss(strengths_K):
        return -jnp.sum(weights_N * plackett_luce_logps(strengths_K, rankings_NM)) / weights_N.sum()

    with jax.enable_x64(True):
        step = jax.jit(jax.value_and_grad(loss))
        found = minimize(
            lambda s: [np.asarray(part, float) for part in step(s)],
            np.zeros(n_items),
            jac=True,
            method="BFGS",
            options={"gtol": 1e-9},
        )
    return found.x  # of mean 0, as every gradient is: only differences count


def comparisons_of_tie(one: int, other: int) -> tuple[tuple[tuple[int, int], float], ...]:
    """A tie as (comparison, weight): half a win for each side."""
    return ((one, other), 0.5), ((other, one), 0.5)


def _check_connected(rankings: Sequence[Sequence[int]], n_items: int) -> None:
    beats = np.array([(i, j) for ranking in rankings for i, j in itertools.pairwise(ranking)])
    beats = beats.reshape(-1, 2)
    graph = coo_array((np.ones(len(beats)), (beats[:, 0], beats[:, 1])), shape=(n_items, n_items))
    n_parts, part_K = connected_components(graph, directed=True, connection="strong")
    if n_parts == 1:
        return
    losing = {part_K[j] for i, j in beats if part_K[i] != part_K[j]}
    unbeaten = next(part for part in range(n_parts) if part not in losing)
    items = ", ".join(str(item) for item in np.flatnonzero(part_K == unbeaten))
    raise ValueError(
        f"strengths: items {items} never lost to any other, so how much better they are is not known; "
        "compare more, or leave them out"
    )
