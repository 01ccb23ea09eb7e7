"""The minimum of noisy losses: a parabola through log losses against the logarithm of what is varied, such as
the size at a budget.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# In log loss: rows so far above the best count half and those further up less, as the loss is no polynomial.
NEAR = 0.02
SKEWED_ROWS = 6  # as many rows place a minimum between walls of unequal steepness
LEAST_CURVATURE = 1e-4  # of log loss per squared unit of log x; flatter ones have no usable minimum


class Parabola(NamedTuple):
    """The minimum of one fitted curve.

    Attributes:
      log_x, log_loss: where it is, and the loss there.
      draws: log_x under the noise of the losses [n_draws]; NaN where a draw has no minimum.
      loss_draws: log_loss likewise.
      curve: coefficients of the polynomial in log x, highest power first.
      at_edge: the minimum is not inside the values tried, so it is only a bound.
    """

    log_x: float
    log_loss: float
    draws: np.ndarray
    loss_draws: np.ndarray
    curve: tuple[float, ...]
    at_edge: bool


def fit_parabolas(
    groups: Sequence[tuple[np.ndarray, np.ndarray]], n_draws: int, rng: np.random.Generator
) -> list[Parabola]:
    """One curve a group of (log x, log loss), all fitted together by least squares.

    A parabola takes both walls to be equally steep, and where they are not its minimum is off towards the
    gentler one: groups with enough rows get a cubic. The noise of a row is the scatter about all curves
    together, and no less than 0.1 %: one group alone has too few rows to tell.

    Args:
      groups: (log x [rows], log loss [rows]) of each.
      n_draws: of the noise; rng: for them.
    """
    middles = [log_x[log_loss.argmin()] for log_x, log_loss in groups]
    design, columns = _design([log_x - middle for (log_x, _), middle in zip(groups, middles)])
    losses = np.concatenate([log_loss for _, log_loss in groups])
    above = np.concatenate([log_loss - log_loss.min() for _, log_loss in groups])
    weight = 1 / np.hypot(1.0, above / NEAR)  # one over a row's standard deviation, up to the noise
    inverse = np.linalg.pinv(design * weight[:, None])
    fitted = inverse @ (weight * losses)
    spare = len(losses) - np.linalg.matrix_rank(design)
    scatter = np.sum((weight * (losses - design @ fitted)) ** 2) / spare if spare > 0 else 0.0
    noise = max(np.sqrt(scatter), 1e-3)
    wide = noise * np.sqrt(spare / rng.chisquare(spare, (n_draws, 1))) if spare > 0 else noise  # Student's t
    draws = fitted + wide * rng.standard_normal((n_draws, len(losses))) @ inverse.T
    return [
        _minimum(log_x, log_loss, middle, *[_pick(coefficients, at) for coefficients in (fitted, draws)])
        for (log_x, log_loss), middle, at in zip(groups, middles, columns)
    ]


def _design(groups: list[np.ndarray]) -> tuple[np.ndarray, list[list[int | None]]]:
    """The design matrix, and of each group the columns of its third, second, first and zeroth power."""
    rows, columns = [], []
    n_rows, first = sum(map(len, groups)), 0
    for x in groups:
        block = np.zeros((4, n_rows))
        block[:, first : first + len(x)] = x**3, x**2, x, np.ones_like(x)
        first += len(x)
        at: list[int | None] = [None] * 4
        for power in range(0 if len(np.unique(x)) >= SKEWED_ROWS else 1, 4):
            at[power] = len(rows)
            rows.append(block[power])
        columns.append(at)
    return np.stack(rows, axis=1), columns


def _pick(coefficients: np.ndarray, at: list[int | None]) -> np.ndarray:
    """A group's own coefficients, highest power first [..., 4]; 0 for a power that it has not."""
    nothing = np.zeros_like(coefficients[..., 0])
    return np.stack([nothing if i is None else coefficients[..., i] for i in at], axis=-1)


def _lowest(coefficients: np.ndarray) -> np.ndarray:
    """Where polynomials [..., 4] have their local minimum, NaN where none is to be used."""
    cubic, square, slope, _ = np.moveaxis(coefficients, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(square**2 - 3 * cubic * slope)  # half the curvature at the minimum
        usable = (root > LEAST_CURVATURE) & (square + root > LEAST_CURVATURE)
        return np.where(usable, -slope / (square + root), np.nan)


def _minimum(log_x, log_loss, middle: float, fitted: np.ndarray, draws: np.ndarray) -> Parabola:
    off, drawn = float(_lowest(fitted)), _lowest(draws)
    depths = np.sum(draws * drawn[:, None] ** np.arange(3, -1, -1), axis=1)
    curve = tuple(float(c) for c in np.poly1d(fitted)(np.poly1d([1.0, -middle])).coeffs)
    sizes = np.unique(log_x)
    means = [log_loss[log_x == size].mean() for size in sizes]
    lowest = int(np.argmin(means))
    if not sizes[0] < middle + off < sizes[-1]:  # the best value tried bounds it
        return Parabola(sizes[lowest], means[lowest], middle + drawn, depths, curve, True)
    at_edge = lowest in (0, len(sizes) - 1)
    return Parabola(middle + off, float(np.polyval(fitted, off)), middle + drawn, depths, curve, at_edge)
