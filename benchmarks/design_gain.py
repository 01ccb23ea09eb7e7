"""What planning saves: intervals and coverage against FLOPs, for `next_runs` and for a uniform IsoFLOP grid.

`python benchmarks/design_gain.py [tables a truth] [design_gain.csv]` simulates tables of runs from known
laws with noise, exactly true or a little wrong. The grid has five budgets over two decades with seven sizes
each, its middle off by a third. The plan starts with four sizes at each of the grid's two smallest budgets
and then makes what `next_runs` proposes, up to a share of the grid's FLOPs in all. Both are fitted alike
and asked for the loss, the best size and the exponent at 30 times the grid's largest budget. Printed: the
half-width of the 90 % interval (of the loss and the best size relative), how often it holds what comes
true, and the root mean square of the error. Ten tables a truth take half an hour on two cores, most of it
compiling for each number of runs.
"""

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

import scaling
from scaling.design import SPREAD, next_runs
from scaling.runs import Runs, check
from scaling.target import find

NOISE = 0.004  # of log loss, from run to run
BUDGETS = np.geomspace(1e17, 1e19, 5)
AROUND = 1.35 * np.geomspace(1 / SPREAD, SPREAD, 7)
TARGET = 30 * BUDGETS[-1]
TARGETS = (f"loss@{TARGET:g}", f"n_params@{TARGET:g}", "a")
SHARES = (0.3, 0.45, 0.6)  # of the grid's FLOPs
TRUTHS = (  # exponents and irreducible shares as published tables have them
    {"E": 1.8, "A": 400.0, "B": 1500.0, "alpha": 0.35, "beta": 0.36},
    {"E": 1.7, "A": 480.0, "B": 400.0, "alpha": 0.34, "beta": 0.28},
    {"E": 0.8, "A": 70.0, "B": 120.0, "alpha": 0.22, "beta": 0.23},
    {"E": 2.1, "A": 250.0, "B": 1e5, "alpha": 0.3, "beta": 0.55},
)


def best_size(flops, truth):
    """Hoffmann et al. 2022, eq. 4."""
    ratio = truth["alpha"] * truth["A"] / (truth["beta"] * truth["B"])
    return (ratio * (flops / 6) ** truth["beta"]) ** (1 / (truth["alpha"] + truth["beta"]))


def true(n_params, n_tokens, truth):
    """Chinchilla's law."""
    return truth["E"] + truth["A"] / n_params ** truth["alpha"] + truth["B"] / n_tokens ** truth["beta"]


def bent(n_params, n_tokens, truth):
    """Profiles more curved than Chinchilla's and skewed, an excess that falls more slowly."""
    flops = 6 * n_params * n_tokens
    off = np.log(n_params / best_size(flops, truth))
    excess = true(n_params, n_tokens, truth) - truth["E"]
    return truth["E"] + excess * (1 + 0.04 * off**2 + 0.01 * off**3) * (flops / 1e19) ** 0.015


def curved(n_params, n_tokens, truth):
    """A frontier that is no power law: its slope in log excess changes by 0.02 a decade."""
    decades = np.log10(6 * n_params * n_tokens / 1e18)
    excess = true(n_params, n_tokens, truth) - truth["E"]
    return truth["E"] + excess * np.exp(0.01 * decades**2)


def measure(world: Callable, truth: dict, n_params, n_tokens, rng) -> Runs:
    loss = world(n_params, n_tokens, truth) * np.exp(NOISE * rng.standard_normal(len(n_params)))
    return check(pd.DataFrame({"n_params": n_params, "n_tokens": n_tokens, "loss": loss}), {})


def grid(world: Callable, truth: dict, budgets, around, rng) -> Runs:
    n_params = np.outer(best_size(budgets, truth), around).ravel()
    return measure(world, truth, n_params, np.repeat(budgets, len(around)) / (6 * n_params), rng)


def planned(world: Callable, truth: dict, target: str, flops: float, rng) -> tuple[Runs, float]:
    """All runs, and the half-width promised: the first are few, what is proposed is made in two rounds."""
    runs = grid(world, truth, BUDGETS[:3], AROUND[::2], rng)
    for part in (0.5, 1.0):
        left = flops - float(runs.table["flops"].to_numpy().sum())
        plan = next_runs(scaling.fit(runs), runs, target, part * left)
        new = measure(world, truth, plan.runs["n_params"].to_numpy(), plan.runs["n_tokens"].to_numpy(), rng)
        runs = check(pd.concat([runs.table, new.table], ignore_index=True), {})
    return runs, replace(plan.target, lo=plan.lo, hi=plan.hi).half_width()


def truths(world: Callable, truth: dict) -> dict[str, float]:
    """What is asked for, as it is."""
    sizes = best_size(TARGET, truth) * np.exp(np.linspace(-4, 1, 20001))
    best = {c: sizes[np.argmin(world(sizes, c / (6 * sizes), truth))] for c in (TARGET, BUDGETS[-1])}
    loss = float(world(best[TARGET], TARGET / (6 * best[TARGET]), truth))
    exponent = np.log(best[TARGET] / best[BUDGETS[-1]]) / np.log(TARGET / BUDGETS[-1])
    return dict(zip(TARGETS, (loss, best[TARGET], exponent)))


def judge(runs: Runs, target: str, truth: float, rng) -> dict[str, float]:
    """Half-width of the interval, whether it holds what comes true, and the error."""
    fit = scaling.fit(runs)
    found = find(fit, target, BUDGETS[-1])
    error = np.log(found.value / truth) if found.log else found.value - truth
    comes = truth * np.exp(NOISE * rng.standard_normal()) if target == TARGETS[0] else truth
    return {
        "half": found.half_width(), "held": found.lo <= comes <= found.hi, "error": error,
        "runs": len(runs.table), "flops": float(runs.table["flops"].to_numpy().sum()),
    }  # fmt: skip


def simulate(n_tables: int, worlds=(true, bent, curved), targets=TARGETS, shares=SHARES) -> pd.DataFrame:
    """One row a fitted table; `allowed` is its share of the grid's FLOPs, 1 for the grid itself."""
    rows = []
    for world in worlds:
        for truth in TRUTHS:
            right = truths(world, truth)
            for seed in range(n_tables):
                for target in targets:
                    cases = [one(world, truth, right, seed, target, allowed) for allowed in (1.0, *shares)]
                    rows += [{"world": world.__name__} | case for case in cases]
    return pd.DataFrame(rows)


def one(world: Callable, truth: dict, right: dict, seed: int, target: str, allowed: float) -> dict:
    whole = float(BUDGETS.sum() * len(AROUND))
    rng, promised = np.random.default_rng(seed), np.nan
    if allowed == 1:
        runs = grid(world, truth, BUDGETS, AROUND, rng)
    else:
        runs, promised = planned(world, truth, target, allowed * whole, rng)
    told = judge(runs, target, right[target], rng)
    return {"target": target, "allowed": allowed, "promised": promised, "share": told["flops"] / whole} | told


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each world, target and share allowed: means, and the root mean square of the error."""
    names = ["world", "target", "allowed"]
    squared = rows.assign(error=rows["error"] ** 2).groupby(names, sort=False, as_index=False)
    table = pd.DataFrame(squared[["share", "runs", "promised", "half", "held", "error"]].mean())
    return table.assign(error=np.sqrt(table["error"]))


def main() -> None:
    rows = simulate(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
    table = summary(rows)
    print(table.to_string(index=False, float_format=lambda v: f"{v:.4f}"))
    if len(sys.argv) > 2:
        table.to_csv(sys.argv[2], index=False)


if __name__ == "__main__":
    main()
