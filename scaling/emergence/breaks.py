"""Does a smooth metric break over scale, or only bend as smooth curves do?"""

import numpy as np

FEWEST = 8  # scales; the smooth curve and a break take 6 numbers
MANY = 12  # scales from which on the smooth curve has one more term


def find_break(scale, loss, variance=0.0, n_draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """(p-value, scale) of a break in a smooth metric: a step and a bend at the best place between two scales.

    The smooth curve is log loss as a polynomial of log scale, square or, from 12 models on, cubic; a power
    law is a line. The statistic is the likelihood ratio, its distribution simulated.

    Args:
      scale, loss: of each model: a token loss, a Brier score, any error that is positive.
      variance: of log loss, by the sample of questions; a scalar or one for each. Models are taken to scatter
        about the curve beyond it, by an amount that is estimated.
      n_draws, seed: of the simulated null distribution.

    Raises:
      ValueError: fewer than 8 different scales, or a value that is not positive.
    """
    order = np.argsort(scale, kind="stable")
    x, y = np.asarray(scale, float)[order], np.asarray(loss, float)[order]
    if len(np.unique(x)) < FEWEST or not (np.isfinite([x, y]).all() and np.all(x > 0) and np.all(y > 0)):
        raise ValueError(
            f"a break is looked for among {FEWEST} or more scales, all positive and finite, and so the losses"
        )
    known = np.broadcast_to(variance, x.shape)[order]
    log_x, y = np.log(x), np.log(y)
    u = (log_x - log_x[0]) / (log_x[-1] - log_x[0])
    places = np.unique(u)
    places = ((places[:-1] + places[1:]) / 2)[1:-1]  # at least two models on either side
    curve = np.vander(u, 3 + (len(x) >= MANY))
    deviation = np.sqrt(known + _scatter(curve, y, known))
    smooth = _without(curve, deviation)
    steps = [np.column_stack([u > place, np.maximum(u - place, 0)]) for place in places]
    broken = [_without(np.column_stack([curve, step]), deviation) for step in steps]

    def ratios(values: np.ndarray) -> np.ndarray:
        """[places, draws] squares about the smooth curve, over those about a broken one."""
        left = np.array([((values @ each) ** 2).sum(axis=1) for each in broken])
        return ((values @ smooth) ** 2).sum(axis=1) / np.maximum(left, 1e-300)

    seen = ratios((y / deviation)[None])[:, 0]
    noise = np.random.default_rng(seed).standard_normal((n_draws, len(x)))
    p_value = (1 + np.sum(ratios(noise).max(axis=0) >= seen.max())) / (1 + n_draws)
    where = log_x[0] + (log_x[-1] - log_x[0]) * places[seen.argmax()]
    return float(p_value), float(np.exp(where))


def _scatter(design: np.ndarray, y: np.ndarray, known: np.ndarray) -> float:
    """The variance beside the known one at which weighted squares about the curve are as many as expected."""
    low, high = 0.0, float(np.var(y)) + 1e-12
    for _ in range(60):
        middle = (low + high) / 2
        deviation = np.sqrt(known + middle)
        squares = np.sum((_without(design, deviation) @ (y / deviation)) ** 2)
        low, high = (middle, high) if squares > len(y) - design.shape[1] else (low, middle)
    return high


def _without(design: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Projection [models, models] that takes the design out of values divided by their deviation."""
    basis, _ = np.linalg.qr(design / deviation[:, None])
    return np.eye(len(basis)) - basis @ basis.T
