"""Do intervals hold what they say? Simulated tables with a known truth, through the public interface.

`python -m benchmarks.scaling.coverage [TABLES]` prints, for 90 % intervals: how often they hold the truth,
for every parameter, for the optimal size and loss at 100 times the largest budget and for a new run 10 times
as large; and their width. Tables are IsoFLOP grids of 4 to 7 budgets over 1.5 to 3 decades, of 6 to 9 sizes.
"""

import sys

import numpy as np
import pandas as pd

import scaling
from scaling.simulate import SimulatedTruth, isoflop_grid, measure, random_truth
from scaling.table.runs import check

TOP = 1e19
REALITIES = {
    "Chinchilla's law": {},
    "off the law": {"bend": 0.04, "warmup": 0.03, "mistuned": 0.5, "outliers": 0.02, "missing": 0.1},
}


def one_table(reality: dict[str, float], seed: int) -> list[dict]:
    """What the fit of one simulated table says, and whether it holds."""
    rng = np.random.default_rng(seed)
    truth = random_truth(rng, TOP, **reality)
    budgets = TOP / 10 ** np.linspace(rng.uniform(1.5, 3.0), 0, rng.integers(4, 8))
    table = measure(truth, *isoflop_grid(truth, budgets, int(rng.integers(6, 10)), rng=rng), rng)
    fit = scaling.fit(check(table, {}), n_bootstrap=400, seed=seed)
    rows = [row(name, getattr(truth, name), fit.params[name], *fit.ci[name]) for name in fit.params]
    rows.append(row("a", truth.beta / (truth.alpha + truth.beta), fit.exponents["a"], *fit.exponents_ci["a"]))
    best = scaling.frontier(fit, 100 * TOP)
    size = (best.n_params, best.n_params_lo, best.n_params_hi)
    rows.append(row("N* at 100×", truth.best_size(100 * TOP), *size))
    for ahead in (10, 100):
        predicted = fit.predict(*place(truth, ahead * TOP))
        truly = truth.loss(*place(truth, ahead * TOP)) * np.exp(truth.noise * rng.standard_normal())
        rows.append(row(f"loss at {ahead}×", truly, *predicted))
    return rows


def place(truth: SimulatedTruth, flops: float) -> tuple[np.ndarray, np.ndarray]:
    n_params = truth.best_size(flops)
    return n_params, flops / 6 / n_params


def row(what: str, truth: float, predicted: float, lo: float, hi: float) -> dict:
    error, half = abs(predicted / truth - 1), (hi - lo) / 2 / predicted
    return {"what": what, "inside": lo <= truth <= hi, "error": error, "half": half}


def main() -> None:
    n_tables = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for name, reality in REALITIES.items():
        rows = pd.DataFrame([found for seed in range(n_tables) for found in one_table(reality, seed)])
        summary = rows.groupby("what", sort=False).agg(
            inside=("inside", "mean"), median_error=("error", "median"), median_half_width=("half", "median")
        )
        print(f"\n{name}, {n_tables} tables\n{summary.map(lambda share: f'{share:.1%}').to_string()}")


if __name__ == "__main__":
    main()
