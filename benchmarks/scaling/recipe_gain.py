"""Does the interval of a recipe's gain hold the gain? Simulated pairs of recipes whose gain is known.

`python -m benchmarks.scaling.recipe_gain [PAIRS]` prints, by case and method: how often 90 % intervals hold
the gain over all compute, at the largest and at ten times that, and the trend; median half-widths of log
gain; and how often a difference is said to be shown, to shrink and to cross 1.

Recipe B at compute C has the loss of recipe A at g(C) times that compute, size and tokens grown alike, so B's
best model at C is A's at g(C)·C. Runs are IsoFLOP grids of 3 to 5 budgets over 1 to 2 decades, of 3 to 5
sizes. Paired runs share half the variance of their noise; law by law, B has other budgets and sizes. In half
the tables the truth is off the law (profiles that bend, small budgets that lose, mistuned rates).
"""

import sys

import numpy as np
import pandas as pd

from scaling.prediction.recipe_comparison import RecipeComparison, compare_recipes
from scaling.simulate import SimulatedTruth, isoflop_grid, random_truth
from scaling.simulate.truth import LR_CURVATURE
from scaling.table.runs import Runs, check

TOP = 1e19
CASES = {  # gain at the largest compute, and its factor with every decade
    "no difference": (1.0, 1.0),
    "gains 1.3 times": (1.3, 1.0),
    "gains 2 times": (2.0, 1.0),
    "shrinks": (1.2, 0.75),
    "crosses 1": (0.8, 0.6),
}
OFF = {"bend": 0.04, "warmup": 0.03, "mistuned": 0.5}


def two_recipes(case: str, paired: bool, seed: int) -> tuple[Runs, Runs, float]:
    """Runs of either recipe, and the largest compute that both have."""
    rng = np.random.default_rng(seed)
    truth = random_truth(rng, TOP, **(OFF if seed % 2 else {}))
    n_budgets, decades = int(rng.integers(3, 6)), rng.uniform(1.0, 2.0)
    budgets, sizes = TOP / 10 ** np.linspace(decades, 0, n_budgets), int(rng.integers(3, 6))
    grid = isoflop_grid(truth, budgets, sizes, 1.0, rng)
    other = grid if paired else isoflop_grid(truth, 1.3 * budgets, int(rng.integers(3, 6)), 1.0, rng)
    noise = truth.noise * np.sqrt(0.5)
    shared = noise * rng.standard_normal(len(grid[0])) if paired else 0.0
    a = runs(truth, *grid, (1.0, 1.0), noise, shared, rng)
    b = runs(truth, *other, CASES[case], noise, shared if paired else 0.0, rng)
    return a, b, TOP


def runs(truth: SimulatedTruth, n, d, gain: tuple[float, float], noise: float, shared, rng) -> Runs:
    """A recipe's table.

    Args:
      truth: of recipe A without noise.
      n, d: sizes and tokens.
      gain: see CASES.
      noise: standard deviation of each run's own; shared: noise of the runs that others have, too.
    """
    grown = np.sqrt(true_gain(gain, 6 * n * d))
    off = shared + noise * rng.standard_normal(len(n))
    off += LR_CURVATURE * (truth.mistuned * rng.standard_normal(len(n))) ** 2
    loss = truth.loss(n * grown, d * grown) * np.exp(off)
    return check(pd.DataFrame({"n_params": n, "n_tokens": d, "loss": loss}), {})


def true_gain(gain: tuple[float, float], flops):
    return gain[0] * gain[1] ** np.log10(flops / TOP)


def one_pair(case: str, paired: bool, seed: int) -> dict:
    """What is said of one pair of recipes, and whether it holds."""
    a, b, _ = two_recipes(case, paired, seed)
    found, gain = compare_recipes(a, b, seed=seed, n_draws=400), CASES[case]
    assert found.method == ("paired" if paired else "law by law")
    row = {"case": case, "method": found.method, "shown": found.largest.shown}
    for name in ("overall", "largest", "ahead"):
        one = getattr(found, name)
        row |= {name: one.lo <= true_gain(gain, one.flops) <= one.hi, f"{name}_half": half(one.lo, one.hi)}
    assert found.trend is not None
    row |= {"trend": found.trend.lo <= gain[1] <= found.trend.hi}
    return row | {word: says(found, word) for word in ("shrinks", "crosses")}


def half(lo: float, hi: float) -> float:
    return float(np.log(hi / lo) / 2)


def says(found: RecipeComparison, word: str) -> bool:
    return any(word in warning for warning in found.warnings)


def main() -> None:
    n_pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rows = pd.DataFrame(
        [one_pair(case, paired, k) for paired in (True, False) for case in CASES for k in range(n_pairs)]
    )
    halves = ["overall_half", "largest_half", "ahead_half"]
    summary = rows.groupby(["method", "case"], sort=False).agg(
        {name: "median" if name in halves else "mean" for name in rows if name not in ("method", "case")}
    )
    print(f"{n_pairs} pairs of recipes a row\n{summary.map(lambda share: f'{share:.1%}').to_string()}")


if __name__ == "__main__":
    main()
