"""How far runs end apart that differ in their seed alone."""

from dataclasses import dataclass

import numpy as np

from scaling.table.runs import Runs

SAME = ("n_params", "n_tokens", "lr", "batch_tokens")  # of runs that repeat each other; those that are given


@dataclass(frozen=True)
class SeedNoise:
    """Standard deviation of log loss, pooled over `dof` repetitions; NaN and 0 where there are none."""

    sd: float
    dof: int


def seed_noise(runs: Runs) -> SeedNoise:
    """The noise of the runs that a law is fitted to, measured where they were repeated under other seeds."""
    table = runs.usable().table
    if "seed" not in table:
        return SeedNoise(float("nan"), 0)
    squares, dof = 0.0, 0
    for _, rows in table.groupby([name for name in SAME if name in table]):
        if len(set(rows["seed"])) > 1:
            log_loss = np.log(rows["loss"].to_numpy(float))
            squares += float(np.sum((log_loss - log_loss.mean()) ** 2))
            dof += len(rows) - 1
    return SeedNoise((squares / dof) ** 0.5 if dof else float("nan"), dof)
