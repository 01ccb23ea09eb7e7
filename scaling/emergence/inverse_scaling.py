"""Better with scale, worse, or first one and then the other? Inverse scaling and U-shapes, with evidence.

The two-lines test (Simonsohn 2018, Advances in Methods and Practices in Psychological Science 1:538): a U has
a line that significantly falls below some scale and one that significantly rises above it, while a parabola
may turn where the data do not. Every scale is tried as the turn, and the critical value is one that no
monotone curve exceeds more often than stated.
"""

from dataclasses import dataclass

import numpy as np

FEWEST = 4  # scales
MEDIAN = 0.6745  # of the absolute value of a standard normal number
VERDICTS = {
    "improves": "It gets better with scale",
    "inverse": "Inverse scaling: it gets worse with scale",
    "u_shaped": "U-shaped: worse with scale at first, then better",
    "inverted_u": "Inverted U: better with scale at first, then worse",
    "undecided": "No trend with scale is certain",
}


@dataclass(frozen=True)
class Trend:
    """How a metric depends on scale.

    Attributes:
      kind: a key of VERDICTS, of performance, whatever the metric: "u_shaped" if performance falls and then
        rises (Wei et al. 2022, arXiv 2211.02011), "inverse" if it falls (McKenzie et al. 2023, arXiv
        2306.09479).
      p_turn: p-value of a turn, at most, if the metric is monotone in scale.
      p_trend: p-value of a slope over all scales.
      turn, turn_lo, turn_hi: scale where it turns, with its interval; NaN without a turn.
      slope_below, slope_above: change of the metric per decade on either side of where two lines show the
        turn best; without a turn, the first is of all scales and the other NaN.
      alpha: both tests' level; the interval's is 1 - alpha.
    """

    kind: str
    p_turn: float
    p_trend: float
    turn: float
    turn_lo: float
    turn_hi: float
    slope_below: float
    slope_above: float
    alpha: float

    def __str__(self) -> str:
        """One sentence with its evidence."""
        verdict = VERDICTS[self.kind]
        if self.kind in ("u_shaped", "inverted_u"):
            return (
                f"{verdict}, the turn at {self.turn:.2g} [{self.turn_lo:.2g}, {self.turn_hi:.2g}] "
                f"({self.slope_below:+.3g} and {self.slope_above:+.3g} per decade; p = {self.p_turn:.2g} "
                "against every monotone curve)."
            )
        return (
            f"{verdict} ({self.slope_below:+.3g} per decade, p = {self.p_trend:.2g}; "
            f"a turn: p = {self.p_turn:.2g})."
        )


def classify_trend(
    scale,
    value,
    se=None,
    higher_is_better: bool = True,
    n_draws: int = 2000,
    seed: int = 0,
    alpha: float = 0.05,
) -> Trend:
    """Decides between better, worse, U-shaped and inverted U.

    The laws `u_shaped` and `broken` then fit the curve; a fit alone does not tell that it turns.

    Args:
      scale, value: of each model: FLOPs, parameters or tokens, and the metric.
      se: standard errors of the values. Models may scatter more than these say: their distances from lines
        between their neighbours decide where they are larger, and alone where no errors are given.
      higher_is_better: of the metric; False for a loss.
      n_draws, seed: of the simulated null distribution. alpha: level of both tests.

    Raises:
      ValueError: fewer than 4 different scales, or a number that is out of range.
    """
    x, y, se = _checked(scale, value, se)
    weight = np.ones(len(x)) if se is None else 1 / se**2
    places = np.unique(x)[1:-1]
    rise = np.stack([_slope(x, weight, x >= place) for place in places])
    fall = -np.stack([_slope(x, weight, x <= place) for place in places])
    trend = _slope(x, weight, np.full(len(x), True))
    neighbours = _neighbours(x, weight)

    def noise(values: np.ndarray) -> np.ndarray:
        """[draws, 1] scatter in standard errors; a median, as a turn or a leap is none unless it is all."""
        apart = np.abs(values @ neighbours.T)
        root = np.sqrt(np.mean(apart**2, axis=1))
        found = np.maximum(np.median(apart, axis=1) / MEDIAN, root / 2)[:, None]
        return np.maximum(found, 1e-300 if se is None else 1.0)

    def t_values(slopes: np.ndarray, values: np.ndarray) -> np.ndarray:
        """[draws, slopes] in their standard errors."""
        return values @ slopes.T / np.sqrt((slopes**2 / weight).sum(axis=1)) / noise(values)

    up, down = t_values(rise, y[None])[0], t_values(fall, y[None])[0]
    turns = np.stack([np.minimum(up, down), np.minimum(-up, -down)])  # a minimum, a maximum
    is_peak, at = np.unravel_index(turns.argmax(), turns.shape)
    drawn = np.random.default_rng(seed).standard_normal((n_draws, len(x))) / np.sqrt(weight)
    # Of all monotone curves, one that is flat but for a steep end turns by chance most often: there a single
    # slope, over the flat part, decides.
    chance = [np.mean(t_values(one, drawn).max(axis=1) >= turns.max()) for one in (rise, fall)]
    p_turn = float(np.clip(max(chance), 1 / n_draws, 1))
    tendency = t_values(trend[None], y[None])[0, 0]
    p_trend = float(max(np.mean(np.abs(t_values(trend[None], drawn)) >= abs(tendency)), 1 / n_draws))

    if p_turn < alpha:
        sign = -1.0 if is_peak else 1.0
        turn = _turn(x, sign * y, weight / noise(y[None])[0, 0] ** 2, alpha)
        kind = "u_shaped" if bool(is_peak) != higher_is_better else "inverted_u"
        below, above = -fall[at] @ y, rise[at] @ y
    else:
        turn = np.nan, np.nan, np.nan
        better = (tendency > 0) == higher_is_better
        kind = "undecided" if p_trend >= alpha else "improves" if better else "inverse"
        below, above = trend @ y, np.nan
    return Trend(kind, p_turn, p_trend, *turn, float(below), float(above), alpha)


def _checked(scale, value, se) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """log10 of scale, value and se, smallest scale first."""
    scale, y = np.asarray(scale, float), np.asarray(value, float)
    if scale.ndim != 1 or scale.shape != y.shape or (se is not None and np.shape(se) != y.shape):
        raise ValueError("scale, value and se must be lists of equal length")
    if not (np.all(scale > 0) and np.isfinite([scale, y]).all()):
        raise ValueError("scale must be positive, and scale and value finite")
    if len(np.unique(scale)) < FEWEST:
        raise ValueError(f"{len(np.unique(scale))} different scales; a turn needs {FEWEST} or more")
    order = np.argsort(scale, kind="stable")
    errors = None if se is None else np.asarray(se, float)[order]
    if errors is not None and not (np.all(errors > 0) and np.isfinite(errors).all()):
        raise ValueError("se must be positive and finite; leave it away where it is not known")
    return np.log10(scale[order]), y[order], errors


def _slope(x: np.ndarray, weight: np.ndarray, of: np.ndarray) -> np.ndarray:
    """What to multiply values with [models] for the slope of the line through some of them."""
    w = weight * of
    off = of * (x - np.sum(w * x) / w.sum())
    return w * off / np.sum(w * off**2)


def _neighbours(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What to multiply values with [inner models, models] for each one's distance from the line between its
    neighbours, in its standard errors (Gasser, Sroka & Jennen-Steinmetz 1986, Biometrika 73:625)."""
    rows = np.zeros((len(x) - 2, len(x)))
    for i, row in enumerate(rows):
        width = x[i + 2] - x[i]
        share = (x[i + 1] - x[i]) / width if width else 0.5
        row[i : i + 3] = share - 1, 1, -share
        row /= np.sqrt(np.sum(row**2 / weight))
    return rows


def _turn(x: np.ndarray, y: np.ndarray, weight: np.ndarray, alpha: float) -> tuple[float, float, float]:
    """Scale of the minimum of a U, with the ends of the interval by likelihood ratio.

    The U has no parametric form: falling up to one model, rising from the next on (isotonic regression).
    """
    from scipy.optimize import isotonic_regression
    from scipy.stats import chi2

    places, squares = np.unique(x), []
    for place in places:
        falls = x < place
        fall = -isotonic_regression(-y[falls], weights=weight[falls]).x if falls.any() else np.zeros(0)
        fitted = np.concatenate([fall, isotonic_regression(y[~falls], weights=weight[~falls]).x])
        squares.append(np.sum(weight * (y - fitted) ** 2))
    squares = np.array(squares)
    # The turn lies between places i - 1 and i; the lowest model fits on either side, so two i fit best.
    best = np.flatnonzero(squares <= squares.min() + 1e-9)
    near = np.flatnonzero(squares <= squares.min() + chi2.ppf(1 - alpha, 1))
    turn = places[best[0] : max(best[-1], best[0] + 1)].mean()
    return float(10**turn), float(10 ** places[max(near[0] - 1, 0)]), float(10 ** places[near[-1]])
