"""What planning saves: intervals and coverage against FLOPs, of `next_runs` and of a uniform IsoFLOP grid.

`python benchmarks/scaling/design_gain.py [tables] [design_gain.csv]` simulates tables (scaling/simulate/)
that follow Chinchilla's law exactly, have profiles more curved than the law's, or lose by warm-ups at small
budgets. The grid has five budgets over two decades with seven sizes each. The plan starts with four sizes at
each of the grid's three smallest budgets and then makes what `next_runs` proposes, in two rounds, up to a
share of the grid's FLOPs in all. Both are fitted alike and asked for the loss and the best size at 30 times
the grid's largest budget, and for the exponent of the best size.

Printed, as means over the tables: FLOPs as a share of the grid's, runs, the half-width of the 90 % interval
as the plan promised it and as it came, in log for the loss and the size, how often it held what comes true,
and the root mean square of the error. Nine tables take eight minutes on two cores, much of it compiling for
each number of runs.
"""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd

import scaling
from scaling.design.design_target import find_target
from scaling.design.next_runs import SPREAD, next_runs
from scaling.simulate import SimulatedTruth, isoflop_grid, measure, random_truth
from scaling.table.runs import Runs, check

NOISE = 0.004  # of log loss, from run to run
REALITIES = {"exact": {}, "bent": {"bend": 0.04}, "warm-up": {"warmup": 0.01}}
BUDGETS = np.geomspace(1e17, 1e19, 5)
SIZES, START = 7, 4  # at each budget: of the grid, of the plan's first runs
WHOLE = SIZES * float(BUDGETS.sum())
FAR = 30 * BUDGETS[-1]
TARGETS = (f"loss@{FAR:g}", f"n_params@{FAR:g}", "a")
SHARES = (0.3, 0.45, 0.6)  # of the grid's FLOPs


def grid(truth: SimulatedTruth, budgets: np.ndarray, sizes: int, rng: np.random.Generator) -> Runs:
    points = isoflop_grid(truth, budgets, sizes, float(np.log(SPREAD)), rng)
    return check(measure(truth, *points, rng), {})


def planned(truth: SimulatedTruth, target: str, flops: float, rng: np.random.Generator) -> tuple[Runs, float]:
    """All runs, and the half-width promised."""
    runs = grid(truth, BUDGETS[:3], START, rng)
    for part in (0.5, 1.0):
        left = flops - float(runs.table["flops"].to_numpy().sum())
        plan = next_runs(scaling.fit(runs), runs, target, part * left)
        new = measure(truth, plan.runs["n_params"].to_numpy(), plan.runs["n_tokens"].to_numpy(), rng)
        runs = check(pd.DataFrame(pd.concat([runs.table[list(new)], new], ignore_index=True)), {})
    return runs, replace(plan.target, lo=plan.lo, hi=plan.hi).half_width()


def true_value(truth: SimulatedTruth, target: str) -> float:
    """What is asked for, as it is."""
    size = truth.best_size(FAR)
    if target == "a":
        return truth.beta / (truth.alpha + truth.beta)
    return float(size if target.startswith("n_params") else truth.loss(size, FAR / (6 * size)))


def judge(truth: SimulatedTruth, runs: Runs, target: str, rng: np.random.Generator) -> dict[str, float]:
    """Half-width of the interval, whether it holds what comes true, and the error."""
    found, right = find_target(scaling.fit(runs), target, BUDGETS[-1]), true_value(truth, target)
    noise = np.exp(NOISE * rng.standard_normal()) if target.startswith("loss") else 1.0
    error = np.log(found.value / right) if found.log else found.value - right
    return {"half": found.half_width(), "held": found.lo <= right * noise <= found.hi, "error": error}


def simulate(n_tables: int, realities=tuple(REALITIES), targets=TARGETS, shares=SHARES) -> pd.DataFrame:
    """One row a fitted table; `allowed` is its share of the grid's FLOPs, 1 for the grid itself."""
    rows = []
    for reality in realities:
        for seed in range(n_tables):
            truth = random_truth(np.random.default_rng(seed), BUDGETS[-1], noise=NOISE, **REALITIES[reality])
            for target in targets:
                for allowed in (1.0, *shares):
                    case = {"truth": reality, "target": target, "allowed": allowed}
                    rows.append(case | one(truth, target, allowed, np.random.default_rng([seed, 1])))
    return pd.DataFrame(rows)


def one(truth: SimulatedTruth, target: str, allowed: float, rng: np.random.Generator) -> dict[str, float]:
    runs, promised = (
        (grid(truth, BUDGETS, SIZES, rng), np.nan)
        if allowed == 1
        else planned(truth, target, allowed * WHOLE, rng)
    )
    share = float(runs.table["flops"].to_numpy().sum()) / WHOLE
    return {"share": share, "runs": len(runs.table), "promised": promised} | judge(truth, runs, target, rng)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each truth, target and share allowed."""
    names = ["truth", "target", "allowed"]
    squared = rows.assign(error=rows["error"] ** 2).groupby(names, sort=False, as_index=False)
    table = pd.DataFrame(squared[["share", "runs", "promised", "half", "held", "error"]].mean())
    return table.assign(error=np.sqrt(table["error"]))


def main() -> None:
    table = summary(simulate(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
    print(table.to_string(index=False, float_format=lambda v: f"{v:.4f}"))
    if len(sys.argv) > 2:
        table.to_csv(sys.argv[2], index=False)


if __name__ == "__main__":
    main()
