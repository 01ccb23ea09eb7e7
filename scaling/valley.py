"""The lowest point of a noisy valley: a parabola through log losses against the logarithm of what is varied.

Used for the best size at a budget and for the best learning rate of a size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Rows whose log loss is further above the best bend the parabola more than they place its bottom …
WINDOW = 0.05
MIN_ROWS = 5  # … but so many nearest rows are kept
LEAST_CURVATURE = 1e-4  # of log loss per squared unit of log x; flatter valleys have no usable bottom


class Valley(NamedTuple):
    """The bottom of one valley.

    Attributes:
      log_x, log_loss: where it is and how deep.
      draws: log_x under the noise of the losses [n_draws]; NaN where a draw has no bottom.
      loss_draws: log_loss likewise.
      curve: coefficients of the parabola, highest power first.
      at_edge: the bottom is not inside the values tried, so it is only a bound.
    """

    log_x: float
    log_loss: float
    draws: np.ndarray
    loss_draws: np.ndarray
    curve: tuple[float, float, float]
    at_edge: bool


def valleys(
    groups: Sequence[tuple[np.ndarray, np.ndarray]],
    n_draws: int,
    rng: np.random.Generator,
    shared_curvature: bool = False,
) -> list[Valley]:
    """One valley a group of (log x, log loss), all fitted together by least squares.

    The noise of a row is the scatter about all parabolas together, and no less than 0.1 %: one group alone
    has too few rows to tell. With `shared_curvature` the parabolas differ in place and depth only.
    """
    kept = [_window(log_x, log_loss) for log_x, log_loss in groups]
    middles = [log_x.mean() for log_x, _ in kept]
    design = _design([log_x - middle for (log_x, _), middle in zip(kept, middles)], shared_curvature)
    losses = np.concatenate([log_loss for _, log_loss in kept])
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ losses
    spare = len(losses) - np.linalg.matrix_rank(design)
    scatter = np.sum((losses - design @ coefficients) ** 2) / spare if spare > 0 else 0.0
    noise = max(np.sqrt(scatter), 1e-3)
    wide = noise * np.sqrt(spare / rng.chisquare(spare, (n_draws, 1))) if spare > 0 else noise  # Student's t
    draws = coefficients + wide * rng.standard_normal((n_draws, len(losses))) @ inverse.T
    found = []
    bends = 1 if shared_curvature else len(groups)
    for i, ((log_x, log_loss), middle) in enumerate(zip(groups, middles)):
        at = [i if bends > 1 else 0, bends + i, bends + len(groups) + i]  # its bend, slope and height
        found.append(_bottom(log_x, log_loss, middle, coefficients[at], draws[:, at]))
    return found


def _window(log_x: np.ndarray, log_loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    near = np.argsort(log_loss, kind="stable")
    keep = near[: max(MIN_ROWS, int(np.sum(log_loss <= log_loss.min() + WINDOW)))]
    return log_x[keep], log_loss[keep]


def _design(groups: list[np.ndarray], shared_curvature: bool) -> np.ndarray:
    """Columns: curvature of each group (or of all), then slopes, then heights."""
    own = np.repeat(np.eye(len(groups)), [len(x) for x in groups], axis=0)
    x = np.concatenate(groups)[:, None]
    square = x**2 if shared_curvature else own * x**2
    return np.hstack([square, own * x, own])


def _bottom(log_x, log_loss, middle: float, coefficients: np.ndarray, draws: np.ndarray) -> Valley:
    bend, slope, height = coefficients
    curve = (float(bend), float(slope - 2 * bend * middle), float(height - slope * middle + bend * middle**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        usable = draws[:, 0] > LEAST_CURVATURE
        off = np.where(usable, -draws[:, 1] / (2 * draws[:, 0]), np.nan)
        loss_draws = np.where(usable, draws[:, 2] + off * draws[:, 1] / 2, np.nan)
    sizes = np.unique(log_x)
    means = [log_loss[log_x == size].mean() for size in sizes]
    lowest = int(np.argmin(means))
    off_here = -slope / (2 * bend) if bend > LEAST_CURVATURE else np.nan
    inside = sizes[0] < middle + off_here < sizes[-1]
    if not inside:  # the best value tried bounds it
        return Valley(sizes[lowest], means[lowest], middle + off, loss_draws, curve, True)
    at_edge = lowest in (0, len(sizes) - 1)
    return Valley(middle + off_here, height + off_here * slope / 2, middle + off, loss_draws, curve, at_edge)
