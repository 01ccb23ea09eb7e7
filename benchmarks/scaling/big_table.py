"""A table of 100,000 runs: seconds to read and check it, seconds to fit it, and the memory all of it takes.

`python benchmarks/scaling/big_table.py [ROWS]` prints a table. It needs no data; run it on an idle machine.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import scaling
from scaling.table.formats import read_table
from scaling.table.runs import check

ROWS = 100_000
NOISE = 0.01  # of log loss


def write(folder: Path, n_rows: int) -> list[Path]:
    """Chinchilla's law at random sizes, as CSV and JSONL with run ids and settings, and as Parquet."""
    rng = np.random.default_rng(0)
    n_params, ratio = np.exp(rng.uniform(np.log([[1e7], [2.0]]), np.log([[1e10], [200.0]]), (2, n_rows)))
    table = pd.DataFrame({"run_id": [f"run{i:06d}" for i in range(n_rows)], "n_params": n_params.round()})
    table["n_tokens"] = (ratio * n_params).round()
    loss = 1.8 + 480 / table.n_params**0.35 + 2100 / table.n_tokens**0.37
    table["loss"] = loss * np.exp(NOISE * rng.standard_normal(n_rows))
    table = table.assign(lr=3e-4, batch_tokens=524_288, seed=0, status="done")
    paths = [folder / f"runs.{suffix}" for suffix in ("csv", "jsonl", "parquet")]
    table.to_csv(paths[0], index=False)
    table.to_json(paths[1], orient="records", lines=True, double_precision=15)
    table.to_parquet(paths[2])
    return paths


def seconds(call, *arguments):
    """(what the call returned, how long it took)."""
    began = time.perf_counter()
    result = call(*arguments)
    return result, time.perf_counter() - began


def memory_gb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main(n_rows: int) -> None:
    print(f"{n_rows:,} rows{'':>20}seconds  peak memory (GB)")
    with tempfile.TemporaryDirectory() as folder:
        for path in write(Path(folder), n_rows):
            table, reading = seconds(read_table, path)
            runs, checking = seconds(check, table, {})
            print(f"read {path.suffix:<23}{reading:>11.2f}{memory_gb():>10.2f}")
            print(f"check{'':<23}{checking:>11.2f}{memory_gb():>10.2f}")
    for n_bootstrap in (0, 1000):
        fit, took = seconds(lambda n=n_bootstrap: scaling.fit(runs, n_bootstrap=n))
        print(
            f"fit, {n_bootstrap} resamples{'':<{11 - len(str(n_bootstrap))}}{took:>13.2f}{memory_gb():>10.2f}"
        )
        print(f"  {fit.status}; E {fit.params['E']:.4f}, alpha {fit.params['alpha']:.4f} (true 1.8, 0.35)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
