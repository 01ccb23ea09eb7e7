"""How fast a law is fitted: the command from start to end, the solves alone, and scipy on the same problem.

`python benchmarks/fit_speed.py` prints a table. It reads the 245 runs of epoch_chinchilla from the folder
named by ISOFLOP_PUBLIC_DATA (default ../shared/data). Run it on an idle machine.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import optimize

import scaling
from scaling.laws import CHINCHILLA
from scaling.runs import read_runs
from scaling.solver import ROUGH, Lanes, best, solve
from scaling.uncertainty import resample

TABLE = (
    Path(os.environ.get("ISOFLOP_PUBLIC_DATA", "../shared/data"))
    / "runs/epoch_chinchilla/svg_extracted_data.csv"
)
COLUMNS = {"n_params": "Model Size", "flops": "Training FLOP"}
DELTA = 1e-3


def command_seconds() -> float:
    """`isoflop fit` with 1,000 bootstraps in a new process, with an empty compile cache."""
    names = ",".join(f"{ours}={theirs}" for ours, theirs in COLUMNS.items())
    command = [
        sys.executable,
        "-m",
        "launch.cli",
        "fit",
        str(TABLE),
        "--columns",
        names,
        "--drop_highest",
        "5",
    ]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        environment = {**os.environ, "ISOFLOP_CACHE": folder}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        return time.perf_counter() - start


def problem():
    """(columns, log losses) of the 240 runs in units of the data."""
    table = read_runs(TABLE, COLUMNS).table.nsmallest(240, "loss")
    x = {c: (table[c] / np.exp(np.log(table[c]).mean())).to_numpy() for c in CHINCHILLA.columns}
    return x, np.log(table["loss"].to_numpy() / table["loss"].min())


def our_seconds(x, y, n_resamples: int) -> tuple[float, float]:
    """(first call with its compilation, second call) of fitting every start and then all resamples."""
    nothing = np.zeros((1, 5))
    lanes = Lanes(y[None], np.ones((1, len(y))), np.array([DELTA]), nothing, nothing)
    starts, seconds = np.array(CHINCHILLA.starts), []
    weight = resample(np.arange(len(y)), n_resamples, np.random.default_rng(0))
    for _ in range(2):
        start = time.perf_counter()
        optimum = best(solve(CHINCHILLA, x, lanes, starts), len(starts)).theta
        drawn = solve(CHINCHILLA, x, lanes._replace(weight=weight), np.repeat(optimum, n_resamples, 0), ROUGH)
        seconds.append(time.perf_counter() - start)
        assert drawn.converged.all()
    return seconds[0], seconds[1]


def scipy_solves_per_second(x, y, n_solves: int = 100) -> float:
    """L-BFGS-B with the analytic gradient, in the usual log-sum-exp form, from the usual grid's starts."""
    log_n, log_d = np.log(x["n_params"]), np.log(x["n_tokens"])

    def objective(theta):
        e, a, b, alpha, beta = theta
        terms = np.stack([np.full_like(y, e), a - alpha * log_n, b - beta * log_d])
        top = terms.max(axis=0)
        share = np.exp(terms - top)
        total = share.sum(axis=0)
        r = y - top - np.log(total)
        size, share = np.abs(r), share / total
        value = np.sum(np.where(size <= DELTA, r**2 / 2, DELTA * (size - DELTA / 2)))
        pull = -np.clip(r, -DELTA, DELTA) * share
        return value, np.array([*pull.sum(axis=1), -pull[1] @ log_n, -pull[2] @ log_d])

    rng = np.random.default_rng(0)
    starts = rng.uniform([-1, -1, -1, 0, 0], [1, 1, 1, 2, 2], (n_solves, 5))
    start = time.perf_counter()
    for theta in starts:
        optimize.minimize(objective, theta, jac=True, method="L-BFGS-B")
    return n_solves / (time.perf_counter() - start)


def main() -> None:
    x, y = problem()
    print(f"isoflop fit, new process, empty cache, 1,000 bootstraps: {command_seconds():.2f} s")
    for n in (1_000, 4_000):
        first, second = our_seconds(x, y, n)
        print(f"{n} resamples of 240 runs: {first:.2f} s with compilation, {second:.2f} s without")
    ours, theirs = 4_000 / second, scipy_solves_per_second(x, y)
    print(f"converged solves a second: {ours:.0f}, scipy L-BFGS-B {theirs:.0f}, ratio {ours / theirs:.0f}")
    runs = read_runs(TABLE, COLUMNS)
    start = time.perf_counter()
    scaling.fit(runs)
    scaling.fit(runs)
    print(f"scaling.fit with 1,000 bootstraps and forecasts, twice: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
