"""Which runs of a world are made, and which larger ones are asked for.

A design is (n_params, n_tokens) of its runs, the largest of TOP FLOPs:

  grid      7 sizes x 7 numbers of tokens, 1.5 decades of each, the corner of most compute near the frontier
  isoflop   5 budgets over 2 decades, 7 sizes each, within e^±1.5 of a middle e^±0.75 beside the best
  l-shape   the 2 smallest of 9 sizes on all of 9 numbers of tokens and all sizes on the 2 smallest, over 2
            decades each (Videau et al. 2026, arXiv 2608.07222): the opposite corner lies near the
            frontier at 100 times the largest run
  few       3 budgets over 1 decade, 6 sizes each
"""

from collections.abc import Callable

import numpy as np

from scaling.simulate.truth import isoflop_grid
from scaling.simulate.worlds import TOP, World

ASIDE = 0.7  # log units of size: how far the corner of a grid lies beside the frontier, at most
OVER_TRAINED = 3.0  # times fewer parameters than the best of their compute, so 9 times the tokens for each


def targets(world: World, flops: float) -> tuple[np.ndarray, np.ndarray]:
    """(n_params, n_tokens) of runs of these FLOPs: the compute-optimal one and an over-trained one."""
    n_params = world.best_size(flops) / np.array([1.0, OVER_TRAINED])
    return n_params, flops / 6 / n_params


def _grid(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    n_params, n_tokens = _corner(world, TOP, rng)
    steps = 10 ** np.linspace(-1.5, 0, 7)
    sizes, tokens = np.meshgrid(n_params * steps, n_tokens * steps)
    return sizes.ravel(), tokens.ravel()


def _isoflop(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return isoflop_grid(world, TOP / 10 ** np.linspace(2, 0, 5), 7, rng=rng)


def _l_shape(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    n_params, n_tokens = _corner(world, 100 * TOP, rng)
    steps = 10 ** np.linspace(-2, 0, 9)
    # i + j = 8 costs TOP: the second smallest goes without the last step, so as not to cost more.
    made = [(i, j) for i in range(9) for j in range(9) if min(i, j) < 2 and i + j <= 8]
    sizes, tokens = np.array(made).T
    return n_params * steps[sizes], n_tokens * steps[tokens]


def _few(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return isoflop_grid(world, TOP / 10 ** np.linspace(1, 0, 3), 6, rng=rng)


def _corner(world: World, flops: float, rng: np.random.Generator) -> tuple[float, float]:
    n_params = float(world.best_size(flops) * np.exp(rng.uniform(-ASIDE, ASIDE)))
    return n_params, flops / 6 / n_params


DESIGNS: dict[str, Callable[[World, np.random.Generator], tuple[np.ndarray, np.ndarray]]] = {
    "grid": _grid,
    "isoflop": _isoflop,
    "l-shape": _l_shape,
    "few": _few,
}
