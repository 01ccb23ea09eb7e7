"""Forecasts of runs of 10, 100 and 1,000 times the largest compute, in simulated worlds of several forms.

    python -m benchmarks.scaling.far [--worlds farseer,skaling] [--designs grid] [--seeds 0:12] [--out F.csv]

Worlds, and the designs of the runs that are fitted, are those of scaling/simulate/. Of each world, design and
seed one table is fitted and asked for the loss of six new runs: at each reach the compute-optimal one and one
with a third of its parameters. Printed, by method: median error, how often 90 % intervals hold the loss that
is measured, half their median width and the mean interval score (Gneiting and Raftery 2007, eq. 43), all
relative to the loss; by reach, by world, and for each cell of world, design and reach. All rows go to a CSV.

Methods take a table and the columns of the new runs and give (loss, lo, hi). A forecast of your own:

    from benchmarks.scaling import far
    rows = far.score({"mine": my_method, **far.METHODS}, seeds=range(4))
    print(far.summary(rows, ["method", "reach"]))

What is to be learnt from these worlds is learnt on other seeds than the default ones (0 to 11), say 1000 on.
"""

import argparse
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize, stats

import scaling
from benchmarks.scaling.backtest import LEVEL, scores
from scaling.simulate.designs import DESIGNS, targets
from scaling.simulate.worlds import TOP, WORLDS, draw

REACHES = (10, 100, 1000)
SEEDS = range(12)
N_BOOTSTRAP = 20  # resamples: the interval of a loss takes none of them, parameters' intervals would
DELTA = 1e-3  # in log loss, of the Huber loss

Method = Callable[[pd.DataFrame, Mapping[str, np.ndarray]], tuple[np.ndarray, np.ndarray, np.ndarray]]


def isoflop_fit(table: pd.DataFrame, x: Mapping[str, np.ndarray]):
    """The default."""
    return tuple(scaling.fit(table, n_bootstrap=N_BOOTSTRAP).predict(**x))


def chinchilla(table: pd.DataFrame, x: Mapping[str, np.ndarray]):
    """Chinchilla's law by scipy: Huber loss of log loss from several starts, intervals by the delta method.

    Noise is the residuals' standard deviation, and the parameters' covariance as without outliers."""
    log_n, log_d = (np.log(table[name].to_numpy(float)) for name in ("n_params", "n_tokens"))
    log_loss = np.log(table["loss"].to_numpy(float))
    n_0, d_0 = log_n.mean(), log_d.mean()

    def value(theta, log_n, log_d):
        E, A, B, alpha, beta = theta
        return np.logaddexp.reduce([E + 0 * log_n, A - alpha * (log_n - n_0), B - beta * (log_d - d_0)])

    def off(theta):
        return value(theta, log_n, log_d) - log_loss

    low = log_loss.min()
    starts = itertools.product(np.log([0.4, 0.75]), (0.25, 0.5), (0.25, 0.5))
    tried = [
        optimize.least_squares(
            off,
            [low + E, *[low + np.log((1 - np.exp(E)) / 2)] * 2, alpha, beta],
            loss="huber",
            f_scale=DELTA,
            bounds=([-10, -10, -10, 0, 0], [10, 10, 10, 3, 3]),
        )
        for E, alpha, beta in starts
    ]
    best = min(tried, key=lambda found: found.cost)
    at = tuple(np.log(x[name]) for name in ("n_params", "n_tokens"))
    moved = best.x + 1e-6 * np.eye(5)
    slopes, ahead = (
        np.array([(value(theta, *where) - value(best.x, *where)) / 1e-6 for theta in moved]).T
        for where in ((log_n, log_d), at)
    )
    left = max(len(log_loss) - 5, 1)
    variance = float(off(best.x) @ off(best.x)) / left
    known = ahead @ np.linalg.pinv(slopes.T @ slopes, rcond=1e-10) @ ahead.T
    half = stats.t.ppf((1 + LEVEL) / 2, left) * np.sqrt(variance * (1 + np.diag(known)))
    middle = value(best.x, *at)
    return np.exp(middle), np.exp(middle - half), np.exp(np.minimum(middle + half, 20.0))


METHODS: dict[str, Method] = {"isoflop fit": isoflop_fit, "chinchilla (scipy)": chinchilla}


def case(kind: str, design: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(the table that is fitted; new runs: n_params, n_tokens, loss as measured, reach, run)."""
    world, rng = draw(kind, seed), np.random.default_rng([seed, *design.encode()])
    runs = world.measure(*DESIGNS[design](world, rng), rng)
    new = [
        world.measure(*targets(world, reach * TOP), rng).assign(reach=reach, run=["optimal", "over-trained"])
        for reach in REACHES
    ]
    return runs, pd.concat(new, ignore_index=True)


def score(
    methods: Mapping[str, Method] = METHODS,
    worlds: Iterable[str] = tuple(WORLDS),
    designs: Iterable[str] = tuple(DESIGNS),
    seeds: Iterable[int] = SEEDS,
) -> pd.DataFrame:
    """One row for each method and new run of each world, design and seed.

    Args:
      methods: forecasts, by name.
      worlds, designs: of scaling/simulate/, by name.
      seeds: of the worlds, their designs and their noise.
    """
    rows = []
    for world, design, seed in itertools.product(worlds, designs, seeds):
        runs, new = case(world, design, seed)
        x = {name: new[name].to_numpy(float) for name in ("n_params", "n_tokens")}
        for method, predict in methods.items():
            for row, *found in zip(new.to_dict("records"), *predict(runs, x)):
                about = {"method": method, "world": world, "design": design, "seed": seed, **row}
                predicted, lo, hi = map(float, found)
                scored = scores(*map(np.atleast_1d, (row["loss"], predicted, lo, hi)))
                signed = predicted / row["loss"] - 1
                rows.append(about | {"predicted": predicted, "lo": lo, "hi": hi, "error": signed} | scored)
    return pd.DataFrame(rows).rename(columns={"median error": "absolute error"})


def summary(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Of rows of `score`: median error, share inside, median half-width, mean interval score."""
    return rows.groupby(by, sort=False).agg(
        **{
            "median error": ("absolute error", "median"),
            "90th percentile": ("absolute error", lambda error: error.quantile(0.9)),
            "inside": ("inside", "mean"),
            "half-width": ("half-width", "median"),
            "interval score": ("interval score", "mean"),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--designs", default=",".join(DESIGNS))
    parser.add_argument(
        "--seeds", default=f"{SEEDS.start}:{SEEDS.stop}", help="first:last, the last left out"
    )
    parser.add_argument("--out", type=Path, default=Path("far.csv"), help="of all rows")
    arguments = parser.parse_args()
    methods = {name: METHODS[name] for name in arguments.methods.split(",")}
    seeds = range(*map(int, arguments.seeds.split(":")))
    rows = score(methods, arguments.worlds.split(","), arguments.designs.split(","), seeds)
    rows.to_csv(arguments.out, index=False)
    for title, by in (
        ("by reach", ["method", "reach"]),
        ("by world and reach", ["method", "world", "reach"]),
        ("by design and reach", ["method", "design", "reach"]),
        ("by cell", ["method", "world", "design", "reach"]),
    ):
        print(f"\n{title}\n{summary(rows, by).map(lambda share: f'{share:.2%}').to_string()}")
    print(f"\nall {len(rows)} rows are in {arguments.out.resolve()}")


if __name__ == "__main__":
    main()
