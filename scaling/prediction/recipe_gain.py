"""Draws of the effective compute gain: by pairs of runs, and law by law.

The gain of B over A at compute C is the compute at which A reaches the loss that B reaches with C, over C.
A's compute grows along a ray on which size and tokens grow alike; near the best size for a compute all ways
to grow are worth the same to first order.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from scaling.fitting.joint_draws import joint_draws
from scaling.fitting.uncertainty import Forecast
from scaling.laws import Law
from scaling.prediction.recipe_pairs import Cell, scatter

FAR = 100.0  # gains are between this and its inverse: no curve is known further
RAY = np.log(FAR) * np.sinh(np.linspace(-3, 3, 21)) / np.sinh(3)  # log compute on a ray, denser near its run
RATIOS, BUDGETS = 9, 60  # tokens per parameter, and budgets, at which laws are drawn
ENOUGH = 3  # degrees of freedom from where on the pairs' own scatter around their line is their noise
TREND = 3  # different computes through which a line has a slope of its own


class Curve(NamedTuple):
    """A recipe's loss as far as it is known: a law's form, its forecast, and FLOPs a token by size."""

    form: Law
    known: Forecast
    cost: Callable[[np.ndarray], np.ndarray]


class PairedGain(NamedTuple):
    """Draws by pairs of runs: of log gain at the FLOPs asked for [draws, flops] and of each cell
    [draws, cells], of the noise of one pair's log loss ratio [draws]; whether the line may have a slope."""

    drawn: np.ndarray
    of_cells: np.ndarray
    noise: np.ndarray
    sloped: bool


def gain_by_pairs(
    curve: Curve, cells: Sequence[Cell], flops: np.ndarray, n_draws: int, rng: np.random.Generator
) -> PairedGain:
    """The line of log gain over log compute through pairs of runs.

    A's curve says at which multiple of its compute a cell's A would have B's loss. The line is by weighted
    least squares, where a cell counts by how much compute its loss is worth; noise is what cells scatter
    around it, and of few cells what seeds scatter. Each draw takes another curve of A, and noise of Student's
    t.

    Args:
      curve: of recipe A.
      cells: pairs of runs, three or more.
      flops: where the gain is asked for.
      n_draws: how many draws; rng: of them.
    """
    n, d, flops_a, flops_b = np.array([[c.n_params, c.n_tokens, c.flops_a, c.flops_b] for c in cells]).T
    difference = np.array([np.mean(c.differences) for c in cells])
    n_seeds = np.array([len(c.differences) for c in cells], float)
    grown = np.exp(RAY / 2)
    n_CU, d_CU = n[:, None] * grown, d[:, None] * grown
    middle, drawn = joint_draws(
        curve.known, curve.form, {"n_params": n_CU.ravel(), "n_tokens": d_CU.ravel()}, n_draws, rng
    )
    spent_CU = np.log(curve.cost(n_CU) * d_CU)
    extra_CU = spent_CU - spent_CU[:, [len(RAY) // 2]] + np.log(flops_a / flops_b)[:, None]
    own, slope = _multiples(middle.reshape(1, *n_CU.shape), extra_CU, difference)
    own_DC, _ = _multiples(drawn.reshape(-1, *n_CU.shape), extra_CU, difference)
    own, weight = own[0], n_seeds * slope[0] ** 2

    log_c = np.log(flops_b)
    sloped = len(np.unique(log_c.round(2))) >= TREND
    center = float(weight @ log_c / weight.sum())
    design = np.stack([np.ones_like(log_c), log_c - center], axis=1)[:, : 1 + sloped]
    information = design.T @ (weight[:, None] * design)
    line = np.linalg.solve(information, design.T * weight)  # coefficients by log gains [coefficients, cells]
    left, dof = own - design @ (line @ own), len(own) - design.shape[1]
    squares = float(weight @ left**2)
    if dof < ENOUGH:
        within, more = scatter(cells)
        squares, dof = squares + within, dof + more
    noise = np.sqrt(squares / rng.chisquare(dof, n_draws))
    shake = rng.standard_normal((n_draws, design.shape[1])) @ np.linalg.cholesky(np.linalg.inv(information)).T
    coefficients = own_DC @ line.T + noise[:, None] * shake
    asked = np.stack([np.ones(len(flops)), np.log(flops) - center])[: 1 + sloped]
    alone = noise[:, None] * rng.standard_normal(own_DC.shape)
    return PairedGain(coefficients @ asked, own_DC + alone / np.sqrt(weight), alone[:, 0], sloped)


def _multiples(
    log_loss: np.ndarray, extra: np.ndarray, difference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(log of the compute at which curves have fallen by what cells differ, their slopes there), both
    [draws, cells].

    Args:
      log_loss: along the rays [draws, cells, RAY]; extra: log of their compute over B's [cells, RAY].
      difference: log loss of B less A's [cells].
    """
    fallen = log_loss[:, :, [len(RAY) // 2]] - log_loss  # rises along the ray
    fallen = np.maximum.accumulate(fallen, axis=2)
    found, slopes = np.empty(fallen.shape[:2]), np.empty(fallen.shape[:2])
    for cell, (across, by) in enumerate(zip(extra, -difference)):
        for draw, curve in enumerate(fallen[:, cell]):
            found[draw, cell] = np.interp(by, curve, across)
            at = min(max(int(np.searchsorted(curve, by)), 1), len(across) - 1)
            slopes[draw, cell] = (curve[at] - curve[at - 1]) / (across[at] - across[at - 1])
    return found, np.maximum(slopes, 1e-6)


def gain_by_laws(
    a: Curve, b: Curve, flops: np.ndarray, ahead: np.ndarray, n_draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws of log gain at these FLOPs [draws, flops + ahead]: A's compute for the loss of B's best model.

    Either recipe's best is sought among the tokens per parameter that its runs had, so that runs on one line
    are compared on their line, and IsoFLOP grids at their best sizes. Beyond the runs each draw goes on along
    the slope of its line through them, as pairs do: two laws, each continued by itself, would say little.

    Args:
      a, b: the recipes' curves.
      flops: rising, where runs are compared; ahead: beyond.
      n_draws: how many draws; rng: of them.
    """
    wide = np.geomspace(flops.min() / FAR, flops.max() * FAR, BUDGETS)
    best_a = np.minimum.accumulate(_best(a, wide, n_draws, rng), axis=1)
    best_b = _best(b, flops, n_draws, rng)
    log_c = np.log(flops)
    spent = np.array([np.interp(-of_b, -of_a, np.log(wide)) for of_a, of_b in zip(best_a, best_b)])
    gain = spent - log_c
    off = log_c - log_c.mean()
    slope = gain @ off / max(off @ off, 1e-12)  # of runs of one compute 0
    return np.hstack([gain, gain[:, -1:] + slope[:, None] * (np.log(ahead) - log_c[-1])])


def _best(curve: Curve, flops: np.ndarray, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of the lowest log loss of each budget [draws, flops]."""
    seen = np.log(curve.known.units["n_tokens"] * curve.known.x["n_tokens"]) - np.log(
        curve.known.units["n_params"] * curve.known.x["n_params"]
    )
    ratio = np.exp(np.linspace(seen.min(), seen.max(), RATIOS))[:, None]
    sizes = np.geomspace(1.0, flops.max(), 400)
    log_c = np.log(curve.cost(sizes) * sizes)
    n = np.exp(np.interp(np.log(flops) - np.log(ratio), log_c, np.log(sizes)))
    x = {"n_params": n.ravel(), "n_tokens": (ratio * n).ravel()}
    _, drawn = joint_draws(curve.known, curve.form, x, n_draws, rng)
    return drawn.reshape(n_draws, *n.shape).min(axis=1)
