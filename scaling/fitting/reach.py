"""How far a prediction reaches beyond the runs that it rests on, in numbers and in words.

What a law is off by where no run has been, no table of runs can say. How laws failed elsewhere can: over
simulated truths of other forms, what forecasts missed grew as the distance from the runs in (log N, log D) to
the power 1.5, as a random walk's integral does (`python -m benchmarks.scaling.far`), beyond the largest
compute as in the empty corner of an L of runs. So a forecast's error has a part that grows so.

A law that is not relaxed is off by more near its runs already: default studies missed, at eight times the
compute, by more than its own uncertainty and the noise explain (benchmarks/RESULTS.md).

And they failed to one side. Whether the loss has a floor, and where, some runs tell and others do not; where
they did not and the truth had none, all forms expected too high a loss, ever more so with distance. How much
the prior of the floor decides is seen by another prior: where forms that expect a low floor, fitted to the
same runs, come to a lower loss, the interval's lower end lies further away than its upper one.
"""

from collections.abc import Mapping

import numpy as np

FIRST_DECADE = 0.006  # standard deviation of log loss that one decade from the nearest run adds …
BELOW = 0.03  # … and adds besides, at most, to a loss below what is predicted
UNRELAXED = 0.02  # … and adds besides where the law itself predicts, not its relaxed form
BY_THE_FLOOR = 2.0  # standard deviation below, in terms of how much less forms of low floor expect
AT_THE_END = 1.05  # times an end of the range: rounding and a size off the ladder reach no further


def distance(at: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """Decades from the nearest run, in size or in tokens, whichever is more [points].

    Args:
      at [points, 2], runs [rows, 2]: base-10 logarithms of sizes and of tokens.
    """
    return np.abs(at[:, None] - runs).max(axis=2).min(axis=1)


def unseen(away: np.ndarray) -> np.ndarray:
    """Standard deviation of log loss for being this `distance` away [points]."""
    return FIRST_DECADE * away**1.5


def floorless(away: np.ndarray, less: np.ndarray | float = np.inf) -> np.ndarray:
    """As `unseen`, of a loss that is lower than predicted: for a floor that may not be there [points].

    `less` is by how much forms of low floor expect a lower log loss [points]; without them nobody knows."""
    return np.minimum(BY_THE_FLOOR * less, BELOW * away**2)


def unrelaxed(away: np.ndarray) -> np.ndarray:
    """As `unseen`, besides it, of a law that has a relaxed form and predicts itself [points]."""
    return UNRELAXED * away


def evidence(columns: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """The smallest and the largest value of each column of the runs, and of their compute, 6·N·D FLOPs.

    Columns hold positive numbers [rows]; N are the active parameters where they are told apart.
    """
    return {name: (float(np.min(v)), float(np.max(v))) for name, v in _with_flops(columns).items()}


def reach(seen: Mapping[str, tuple[float, float]], point: Mapping[str, float]) -> dict[str, float]:
    """By which factor a point lies beyond the runs, in each of its columns and in compute; {} within.

    Args:
      seen: what `evidence` gave (`Fit.evidence`).
      point: columns of one model that is predicted; others than the runs had are left aside.

    Returns:
      value / largest, above 1, or value / smallest, below 1, of the columns where it lies outside.
    """
    beyond = {}
    for name, value in _with_flops(point).items():
        low, high = seen.get(name, (value, value))
        if value > AT_THE_END * high or value * AT_THE_END < low:
            beyond[name] = float(value / (high if value > high else low))
    return beyond


def in_words(beyond: Mapping[str, float], seen: Mapping[str, tuple[float, float]] | None = None) -> str:
    """What `reach` found, as a line to be read beside the prediction; "" where there is nothing to say.

    Of the runs' evidence `seen` it says, too, where a prediction lies further from them than they lie apart.
    """
    parts = []
    for name in sorted(beyond, key=lambda name: name != "flops"):
        end = "largest" if beyond[name] > 1 else "smallest"
        factor = f"{beyond[name]:,.0f}" if beyond[name] >= 100 else f"{beyond[name]:.3g}"
        parts.append(f"{factor} times their {end} {'FLOPs (6·N·D)' if name == 'flops' else name}")
    further = f"reaches further than the runs: {', '.join(parts)}"
    return "; ".join(filter(None, [further, lever_arm(beyond, seen or {})])) if parts else ""


def lever_arm(beyond: Mapping[str, float], seen: Mapping[str, tuple[float, float]]) -> str:
    """Where compute lies more decades beyond the runs than they span: how many of each; "" elsewhere."""
    if "flops" not in beyond or "flops" not in seen:
        return ""
    low, high = seen["flops"]
    ahead, span = abs(np.log10(beyond["flops"])), np.log10(high / low)
    return f"{ahead:.1f} decades of compute beyond runs that span {span:.1f}" if ahead > 1.001 * span else ""


def _with_flops(columns: Mapping) -> dict:
    """With compute, where the columns have a size and tokens."""
    size = next((name for name in ("n_active", "n_params") if name in columns), None)
    if size is None or "n_tokens" not in columns or "flops" in columns:
        return dict(columns)
    return {**columns, "flops": 6.0 * columns[size] * columns["n_tokens"]}
