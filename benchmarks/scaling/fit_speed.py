"""How fast a law is fitted, against scipy on the same problem in the same run, and who finds the lower one.

`python benchmarks/scaling/fit_speed.py` prints a table; it takes about two minutes on an idle machine. The
problem is
that of Besiroglu et al. (arXiv 2404.10102): 240 of the 245 runs of epoch_chinchilla, Huber delta 1e-3, 4,500
starts on their grid for scipy; the runs are read from the folder named by ISOFLOP_PUBLIC_DATA (default
../shared/data). On a busy machine compare CPU seconds: scipy has one core, the solver all of them.

Why no variable projection, though three parameters are linear given the exponents: under the Huber loss the
projected problem has no closed form, so that each of its steps costs a robust fit of its own. The steps here
reach the optimum from all 9 starts in 20 to 60 evaluations, and from there that of a resample in 6.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # scipy is several times slower where tiny products wait for threads

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from scipy import optimize

from scaling.fitting.solver import ROUGH, Problems, Solution, best_of_starts, solve
from scaling.fitting.uncertainty import resample
from scaling.laws import CHINCHILLA
from scaling.laws.law import scaled_values

TABLE = (
    Path(os.environ.get("ISOFLOP_PUBLIC_DATA", "../shared/data"))
    / "runs/epoch_chinchilla/svg_extracted_data.csv"
)
OF_TABLE = ("--columns", "n_params=Model Size,flops=Training FLOP", "--drop_highest", "5")
DELTA, N, REPEATS = 1e-3, 4_000, 5
NOTHING = np.zeros((1, 5))
# log E, log A, log B and the exponents, in units of parameters, tokens and nats, as in their notebook.
AXES = (
    np.linspace(-1, 1, 5),
    np.arange(0, 30, 5),
    np.arange(0, 30, 5),
    np.linspace(0, 2, 5),
    np.linspace(0, 2, 5),
)
GRID = np.stack(np.meshgrid(*AXES), axis=-1).reshape(-1, 5).astype(float)


def spent(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """(result, seconds, CPU seconds)."""
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - start, time.process_time() - cpu


def problem():
    """Parameters, tokens and losses of the 240 runs; the five of highest loss are left out, as by them."""
    table = pd.read_csv(TABLE).nsmallest(240, "loss")
    n_params = table["Model Size"].to_numpy(float)
    return n_params, table["Training FLOP"].to_numpy(float) / (6 * n_params), table["loss"].to_numpy()


def in_units(n_params, n_tokens, loss):
    """Columns and target as the solver takes them."""
    mean = [np.exp(np.log(column).mean()) for column in (n_params, n_tokens)]
    x = {"n_params": n_params / mean[0], "n_tokens": n_tokens / mean[1]}
    return x, np.log(loss / loss.min())


def from_starts(x, y) -> Solution:
    starts = np.array(CHINCHILLA.starts)
    problems = Problems(y[None], np.ones((1, len(y))), np.array([DELTA]), NOTHING, NOTHING)
    return solve(CHINCHILLA, x, problems, starts)


def resampled(x, y, theta: np.ndarray, weight: np.ndarray) -> Solution:
    problems = Problems(y[None], weight, np.array([DELTA]), NOTHING, NOTHING)
    return solve(CHINCHILLA, x, problems, np.repeat(theta, len(weight), axis=0), ROUGH)


def whole(x, y) -> Solution:
    """What a fit with N resamples takes: every start, the resamples, and their optima."""
    found = from_starts(x, y)
    weight = resample(np.arange(len(y)), N, np.random.default_rng(0))
    return resampled(x, y, best_of_starts(found, len(found.theta)).theta, weight)


def scipy_objectives(n_params, n_tokens, loss) -> np.ndarray:
    """L-BFGS-B with the analytic gradient, in the usual log-sum-exp form, from every start of the grid."""
    log_n, log_d, y = np.log(n_params), np.log(n_tokens), np.log(loss)

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

    return np.array([optimize.minimize(objective, s, jac=True, method="L-BFGS-B").fun for s in GRID])


def command(table: Path, *flags: str) -> tuple[float, float]:
    """(seconds, peak GB) of `isoflop fit` with 1,000 resamples, in a new process with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "launch.cli", "fit", str(table), "--out", f"{folder}/fit.json", *flags]
        environment = {**os.environ, "ISOFLOP_CACHE": folder, "JAX_COMPILATION_CACHE_DIR": folder}
        start = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True, env=environment)
        seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def simulated(rows: int) -> pd.DataFrame:
    """A table of runs from a known law, with half a per cent of noise."""
    rng = np.random.default_rng(0)
    x = {"n_params": 10 ** rng.uniform(-2, 2, rows), "n_tokens": 10 ** rng.uniform(-2, 2, rows)}
    log_loss = scaled_values(CHINCHILLA, np.array([[0.6, 0.3, 0.3, 0.35, 0.37]]), x)[0]
    loss = 2 * np.exp(log_loss + 0.005 * rng.standard_normal(rows))
    return pd.DataFrame({"n_params": 1e9 * x["n_params"], "n_tokens": 2e10 * x["n_tokens"], "loss": loss})


def line(what: str, value: str) -> None:
    print(f"{what:<72} {value}", flush=True)


def main() -> None:
    jax.config.update("jax_enable_compilation_cache", False)
    runs = problem()
    x, y = in_units(*runs)
    line(
        f"every start and {N} resamples of 240 runs, with compilation",
        f"{spent(lambda: whole(x, y))[1]:.2f} s",
    )
    line("again", f"{min(spent(lambda: whole(x, y))[1] for _ in range(REPEATS)):.3f} s")

    found = from_starts(x, y)
    theta = best_of_starts(found, len(found.theta)).theta
    weight = resample(np.arange(len(y)), N, np.random.default_rng(1))
    ours = [spent(lambda: resampled(x, y, theta, weight)) for _ in range(REPEATS)]
    theirs, scipy_seconds, scipy_cpu = spent(lambda: scipy_objectives(*runs))
    ours += [spent(lambda: resampled(x, y, theta, weight)) for _ in range(REPEATS)]
    assert all(drawn.converged.all() for drawn, _, _ in ours)
    wall, core = np.median([(N / seconds, N / cpu) for _, seconds, cpu in ours], axis=0)
    scipy_wall, scipy_core = len(GRID) / scipy_seconds, len(GRID) / scipy_cpu
    line("converged solves a second, and a CPU second", f"{wall:.0f}, {core:.0f}")
    line(f"scipy L-BFGS-B from {len(GRID)} starts", f"{scipy_wall:.0f}, {scipy_core:.0f}")
    line("ratio", f"{wall / scipy_wall:.0f}, {core / scipy_core:.0f}")

    reached = int(np.sum(found.objective <= found.objective.min() * (1 + 1e-9)))
    line(
        "lowest objective", f"{found.objective.min():.15f}, reached by {reached} of {len(found.theta)} starts"
    )
    near = int(np.sum(theirs <= theirs.min() * (1 + 1e-9)))
    line("lowest objective of scipy", f"{theirs.min():.15f}, reached by {near} of {len(GRID)} starts")

    line("isoflop fit of this table", "{:.2f} s, {:.2f} GB".format(*command(TABLE, *OF_TABLE)))
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "runs.csv"
        simulated(100_000).to_csv(table, index=False)
        line("isoflop fit of 100,000 simulated runs", "{:.2f} s, {:.2f} GB".format(*command(table)))


if __name__ == "__main__":
    main()
