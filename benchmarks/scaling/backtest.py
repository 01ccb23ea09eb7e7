"""Public tables, split by compute: what the smaller runs predict of runs at least ten times as large.

`python -m benchmarks.scaling.backtest` reads the tables from ISOFLOP_PUBLIC_DATA (default ../shared/data;
see docs/howto/public_tables.md) and prints, by group of tables and for all: the median absolute error of the
loss, how often 90 % intervals hold it, half their median width, and the mean interval score (Gneiting and
Raftery 2007, eq. 43), each averaged over splits and tables; and by reach, the compute of a run over the
largest fitted. Every table is cut at three budgets. Compared are the default fit, the law itself (--norelax),
plain approach 3 (the law's robust fit and its bootstrap, no noise), and the law fitted with the held-out runs
included, which is as close as its form comes.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

import scaling
from scaling.laws import CHINCHILLA
from scaling.laws.law import values
from scaling.table.runs import Runs, check

RUNS = Path(os.environ.get("ISOFLOP_PUBLIC_DATA", "../shared/data")) / "runs"
GAP, LEAST_TRAIN, LEAST_TEST, SPLITS = 10.0, 20, 2, 3
REACHES = {"all": (0, np.inf), "10 to 30": (10, 30), "30 to 100": (30, 100), "100 on": (100, np.inf)}
LEVEL = 0.9
MEASURES = ["median error", "inside", "half-width", "interval score"]


def tables() -> dict[str, pd.DataFrame]:
    """Every table with n_params, n_tokens and loss; of learning-rate grids, the best run of each cell."""
    found = {}
    epoch = pd.read_csv(RUNS / "epoch_chinchilla/svg_extracted_data.csv")
    epoch = epoch.rename(columns={"Model Size": "n_params", "Training FLOP": "flops"})
    found["epoch"] = epoch.assign(n_tokens=epoch.flops / 6 / epoch.n_params).nsmallest(240, "loss")
    porian = pd.read_csv(RUNS / "porian/isoflop_points.csv").rename(
        columns={"n": "n_params", "t": "n_tokens"}
    )
    kinds = ["file", "dataset", "hparams", "warmup", "decay", "param_count", "val"]
    found |= {f"porian {' '.join(map(str, kind))}": part for kind, part in porian.groupby(kinds)}
    for name in ("hot", "hot_100b+", "cool_begin", "cool_end", "lr_ablation_hot"):
        rows = pd.read_json(RUNS / f"gemstones/wandb_df_for_fitting_{name}.jsonl", lines=True)
        names = {"params_active_precise": "n_params", "tokens": "n_tokens", "final_loss": "loss"}
        found[f"gemstones {name}"] = rows.rename(columns={**names, "run_name": "run_id"})
    return {name: table.drop(columns=["flops"], errors="ignore") for name, table in found.items()}


def compute(table: pd.DataFrame) -> np.ndarray:
    """N·D of each run; of whole numbers the product would overflow [rows]."""
    return table["n_params"].to_numpy(float) * table["n_tokens"].to_numpy(float)


def splits(table: pd.DataFrame) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """(smaller runs, runs of GAP times their compute or more), at budgets low to high."""
    spent = compute(table)
    cuts = [
        cut * 1.001
        for cut in np.unique(spent)
        if (spent <= cut * 1.001).sum() >= LEAST_TRAIN and (spent >= GAP * cut).sum() >= LEAST_TEST
    ]
    chosen = np.unique(np.linspace(0.3 * (len(cuts) - 1), len(cuts) - 1, SPLITS).round().astype(int))
    return [(table[spent <= cuts[i]], table[spent >= GAP * cuts[i]]) for i in chosen]


def approach_3(fit: scaling.Fit, x: dict[str, np.ndarray]):
    loss = values(CHINCHILLA, np.array(list(fit.params.values()))[None], x)[0]
    return loss, *np.quantile(values(CHINCHILLA, fit.samples, x), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


def predicted(smaller: Runs, larger: pd.DataFrame, whole: Runs):
    """(method, loss, lo, hi) at the larger runs."""
    x = {name: larger[name].to_numpy(float) for name in CHINCHILLA.columns}
    fit = scaling.fit(smaller, n_bootstrap=400)
    yield "isoflop fit", *fit.predict(**x)
    yield "--norelax", *scaling.fit(smaller, n_bootstrap=400, relax=False).predict(**x)
    yield "approach 3", *approach_3(fit, x)
    yield "fitted to all", *approach_3(scaling.fit(whole, n_bootstrap=50), x)


def scores(loss: np.ndarray, predicted: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> dict[str, float]:
    missed = np.maximum(lo - loss, 0) + np.maximum(loss - hi, 0)
    return {
        "median error": float(np.median(np.abs(predicted / loss - 1))),
        "inside": float(np.mean((lo <= loss) & (loss <= hi))),
        "half-width": float(np.median((hi - lo) / 2 / predicted)),
        "interval score": float(np.mean((hi - lo + 2 / (1 - LEVEL) * missed) / loss)),
    }


def main() -> None:
    rows = []
    for name, table in tables().items():
        for number, (smaller, larger) in enumerate(splits(table)):
            loss, times = larger["loss"].to_numpy(float), compute(larger) / compute(smaller).max()
            for method, *interval in predicted(check(smaller, {}), larger, check(table, {})):
                about = {"table": name, "group": name.split()[0], "cut": number, "method": method}
                for reach, (least, end) in REACHES.items():
                    there = (times >= least) & (times < end)
                    if there.any():
                        part = scores(loss[there], *(each[there] for each in interval))
                        rows.append(about | {"reach": reach} | part)
    parts = pd.DataFrame(rows)
    found = parts[parts["reach"] == "all"]
    at_reach = parts.groupby(["method", "reach", "table"], sort=False)[MEASURES].mean()
    by_table = found.groupby(["method", "group", "table"], sort=False)[MEASURES].mean().reset_index()
    for title, summary in (
        ("by group", by_table.groupby(["method", "group"], sort=False)[MEASURES].mean()),
        ("all tables, mean", by_table.groupby("method", sort=False)[MEASURES].mean()),
        ("all tables, median", by_table.groupby("method", sort=False)[MEASURES].median()),
        ("by reach", at_reach.groupby(["method", "reach"], sort=False).mean()),
        ("by cut, low to high", found.groupby(["method", "cut"], sort=False)[MEASURES].mean()),
    ):
        print(f"\n{title}\n{summary.map(lambda share: f'{share:.2%}').to_string()}")
    error = by_table.pivot_table(index="table", columns="method", values="median error")
    better = (error["isoflop fit"] < error["approach 3"]).sum()
    print(f"\nisoflop fit errs less than approach 3 on {better} of {len(error)} tables")


if __name__ == "__main__":
    main()
