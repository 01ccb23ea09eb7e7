"""Two recipes compared: how many times the compute recipe A needs for the loss that recipe B reaches.

Where runs of both match in size and tokens they are paired, which cancels the noise that they share; where
too few match, a law is fitted to each recipe. Both ways end in draws of the gain's curve, off which all that
is said is read: in them are the noise of the runs, the uncertainty of the laws and what laws are off by.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scaling import laws
from scaling.fitting.fit import check_level, cost_of
from scaling.prediction.law_comparison import fit_forecast
from scaling.prediction.recipe_gain import Curve, gain_by_laws, gain_by_pairs
from scaling.prediction.recipe_pairs import Cell, as_recipe, find_cells
from scaling.table.runs import Runs, UsableRuns

LAW = "chinchilla"  # of a recipe's loss; itself, not its relaxed form: recipes are compared with few runs
FEW, FEW_BY_LAW = 4, 6  # different runs that a curve takes: of A beside pairs, of either recipe without
PAIRS = 3  # sizes and lengths that match, from where on runs are compared pair by pair
MOST_PAIRS = 100  # of more, so many are taken, evenly over compute
POINTS = 17  # of the curve within the runs
AHEAD = 10.0  # times the largest compute, as far as the curve goes on beyond the runs
SAME_COMPUTE = 1.05  # runs within this factor say nothing of a trend
NEVER = 1e3  # times the largest compute: a trend that reaches 1 beyond is not said to


class Gain(NamedTuple):
    """How many times B's compute A needs for B's loss, with its interval, at B's compute."""

    flops: float
    gain: float
    lo: float
    hi: float

    @property
    def shown(self) -> bool:
        """Whether the interval leaves 1 out."""
        return not self.lo <= 1 <= self.hi

    def __str__(self) -> str:
        return f"{self.gain:.3g} ({self.lo:.3g} to {self.hi:.3g})"


class Trend(NamedTuple):
    """Factor by which the gain changes with every decade of compute, with its interval."""

    factor: float
    lo: float
    hi: float


@dataclass(frozen=True, eq=False)
class RecipeComparison:
    """What recipe B is worth, measured by recipe A.

    Attributes:
      a, b: names of the recipes; level: of all intervals.
      method: "paired" or "law by law".
      overall, largest, ahead: the gain over all compute that is compared (its mean log), at the largest, and
        at AHEAD times that.
      trend: of the gain; None where the runs are of too few different computes.
      curve: flops, gain, lo, hi, and beyond: whether there are no runs to compare.
      pairs: n_params, n_tokens, flops (of B's run), loss_a, loss_b, n_seeds, gain, lo, hi; empty law by law.
      pair_noise: half-width of the interval of one pair's noise, in log(loss of B / loss of A); None law by
        law.
      warnings: why not to count on the gain at larger scale; notes: what was left out of the tables.
      verdict: one sentence.
    """

    a: str
    b: str
    level: float
    method: str
    overall: Gain
    largest: Gain
    ahead: Gain
    trend: Trend | None
    curve: pd.DataFrame
    pairs: pd.DataFrame
    pair_noise: float | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        named = {
            name: value._asdict() for name, value in vars(self).items() if isinstance(value, Gain | Trend)
        }
        tables = {name: getattr(self, name).to_dict("records") for name in ("curve", "pairs")}
        return {**vars(self), **named, **tables}


def compare_recipes(
    a: Runs,
    b: Runs,
    names: tuple[str, str] = ("A", "B"),
    level: float = 0.9,
    n_draws: int = 1000,
    seed: int = 0,
) -> RecipeComparison:
    """The effective compute gain of recipe B over recipe A as a function of compute.

    Args:
      a, b: runs of either recipe: n_params (or n_active), n_tokens, loss, and flops, seed, lr, batch_tokens
        where they are known.
      names: of the recipes.
      level: of the intervals.
      n_draws: behind them.
      seed: of the draws.

    Raises:
      ValueError: too few runs of a recipe, no scatter to tell a gain from noise by, or no level.
    """
    check_level(level)
    rng = np.random.default_rng(seed)
    own = [as_recipe(runs) for runs in (a, b)]
    notes = [f"{name}: {note}" for name, of in zip(names, own) for note in of.notes if "left out" in note]
    cells = find_cells(own[0].table, own[1].table)
    paired = len(cells) >= PAIRS
    curve_a = _curve(own[0], names[0], FEW if paired else FEW_BY_LAW)
    if paired:
        if len(cells) > MOST_PAIRS:
            notes.append(f"of {len(cells)} pairs {MOST_PAIRS} are taken, evenly over compute")
            cells = [cells[i] for i in np.linspace(0, len(cells) - 1, MOST_PAIRS).round().astype(int)]
        low, high = min(cell.flops_b for cell in cells), max(cell.flops_b for cell in cells)
        flops = _places(low, high)
        found = gain_by_pairs(curve_a, cells, flops, n_draws, rng)
        drawn, sloped, noise = found.drawn, found.sloped, float(np.quantile(np.abs(found.noise), level))
        method, pairs, by = "paired", _table(cells, found.of_cells, level), f"{len(cells)} pairs of runs"
    else:
        low, high = _shared(own, notes)
        flops, sloped = _places(low, high), high > SAME_COMPUTE * low
        curve_b = _curve(own[1], names[1], FEW_BY_LAW)
        drawn = gain_by_laws(curve_a, curve_b, flops[:POINTS], flops[POINTS:], n_draws, rng)
        method, pairs, by, noise = "law by law", pd.DataFrame(), "a law of each", None
    inside = drawn[:, :POINTS]
    ends = [_interval(of, level) for of in drawn.T]
    overall = Gain(float(np.sqrt(low * high)), *_interval(inside.mean(axis=1), level))
    smallest, largest, ahead = (Gain(float(flops[i]), *ends[i]) for i in (0, POINTS - 1, -1))
    log_c = np.log10(flops[:POINTS]) - np.log10(flops[:POINTS]).mean()
    trend = Trend(*_interval(inside @ log_c / (log_c @ log_c), level)) if sloped else None
    curve = pd.DataFrame(ends, columns=["gain", "lo", "hi"]).assign(flops=flops, beyond=flops > high)
    return RecipeComparison(
        *names,
        level=level,
        method=method,
        overall=overall,
        largest=largest,
        ahead=ahead,
        trend=trend,
        curve=curve,
        pairs=pairs,
        pair_noise=noise,
        warnings=tuple(_warnings(names[1], smallest, overall, largest, trend)),
        notes=tuple(notes),
        verdict=_verdict(names, largest, level, by),
    )


def _places(low: float, high: float) -> np.ndarray:
    """FLOPs of the gain's curve: POINTS within the runs, the rest beyond."""
    return np.append(np.geomspace(low, high, POINTS), np.geomspace(high, AHEAD * high, POINTS // 2)[1:])


def _shared(own: list[UsableRuns], notes: list[str]) -> tuple[float, float]:
    """The compute that both recipes have runs of, or B's where there is none, which is noted."""
    low, high = zip(*((of.table["flops"].min(), of.table["flops"].max()) for of in own))
    if max(low) <= min(high):
        return float(max(low)), float(min(high))
    notes.append("no compute has runs of both recipes: the law of the first is continued to the second's")
    return float(low[1]), float(high[1])


def _curve(runs: UsableRuns, name: str, needed: int) -> Curve:
    if (n := len(runs.table.drop_duplicates(["n_params", "n_tokens"]))) < needed:
        why = f" ({runs.notes[-1]})" if runs.notes else ""
        raise ValueError(
            f"{name} has {n} different runs to compare and its curve takes {needed}; add some{why}"
        )
    law = laws.find(LAW)
    return Curve(
        *fit_forecast(law, runs.table, relax=False), cost_of(runs, law) or (lambda n_params: 6.0 * n_params)
    )


def _table(cells: list[Cell], log_gain: np.ndarray, level: float) -> pd.DataFrame:
    """A row a pair, the gain of each from its draws [draws, cells]."""
    rows = [
        {
            "n_params": cell.n_params,
            "n_tokens": cell.n_tokens,
            "flops": cell.flops_b,
            "loss_a": cell.loss_a,
            "loss_b": cell.loss_b,
            "n_seeds": len(cell.differences),
            **dict(zip(("gain", "lo", "hi"), _interval(of, level))),
        }
        for cell, of in zip(cells, log_gain.T)
    ]
    return pd.DataFrame(rows)


def _interval(log_gain: np.ndarray, level: float) -> tuple[float, float, float]:
    """(median, lo, hi) of a gain by draws of its logarithm."""
    middle, lo, hi = np.exp(np.quantile(log_gain, [0.5, (1 - level) / 2, (1 + level) / 2]))
    return float(middle), float(lo), float(hi)


def _warnings(b: str, smallest: Gain, overall: Gain, largest: Gain, trend: Trend | None) -> list[str]:
    """Why what was found may not hold at larger scale.

    Args:
      b: name of the recipe.
      smallest, overall, largest: the gain at the compute that is compared.
      trend: of the gain.
    """
    if trend is None:
        return ["the runs are of too few different computes to say how the gain changes with scale"]
    found, up = [], largest.gain > 1
    decades = -np.log(largest.gain) / np.log(trend.factor) if trend.factor != 1 else np.inf  # to a gain of 1
    gone = largest.flops * 10 ** float(np.clip(decades, -9, 9))
    if smallest.shown and largest.shown and up != (smallest.gain > 1):
        found.append(
            f"the gain crosses 1 near {gone:.2g} FLOPs: {b} is {'worse' if up else 'better'} below, "
            f"{'better' if up else 'worse'} above"
        )
    elif trend.hi < 1 < overall.gain or overall.gain < 1 < trend.lo:
        what = "gains shrinks" if overall.gain > 1 else "loses shrinks"
        by = f"{trend.factor:.2f} ({trend.lo:.2f} to {trend.hi:.2f}) times with every decade of compute"
        reached = f", and so reaches 1 near {gone:.2g} FLOPs" if gone < NEVER * largest.flops else ""
        found.append(f"what {b} {what} with scale: the gain changes {by}{reached}")
    if overall.shown and not largest.shown:
        found.append(f"over all runs the gain is {overall}, but at the largest compute none is shown")
    return found


def _verdict(names: tuple[str, str], largest: Gain, level: float, by: str) -> str:
    """What a pull request says.

    Args:
      names: of the recipes.
      largest: the gain at the largest compute that is compared.
      level: of its interval.
      by: what it is measured by.
    """
    a, b = names
    interval = f"{level:.0%} interval {largest.lo:.3g} to {largest.hi:.3g}, {by}"
    needs = f"at {largest.flops:.2g} FLOPs {a} needs {largest.gain:.3g} times the compute for {b}'s loss"
    if not largest.shown:
        return f"No difference shown between {a} and {b}: {needs} ({interval})."
    return f"{b} is {'better' if largest.gain > 1 else 'worse'} than {a}: {needs} ({interval})."
