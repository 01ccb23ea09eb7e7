"""How far off the rates of the default study are, by how it tunes: sweeps of planted loss surfaces.

`python -m benchmarks.scaling.tuning_stage [simulated studies a design, default 60]`

Planted are a law of the best rate with exponents as wide as published ones, optima that scatter by 7 %
about it, surfaces of unequal sides, and noise of the loss that falls with the root of compute, 1 % at 1e11
FLOPs. Each design plans its sweeps as the study does. Printed: the compute of the
tuning; the error of the log of the verification run's rate, root mean square; and what the rates cost, in per
cent of the loss, there (mean, and 9 of 10 cost less) and over the grid.
"""

import sys

import numpy as np
import pandas as pd

from experiments.config import RunConfig
from experiments.studies.budgets import Sweep
from experiments.studies.quickstart import study as quickstart
from experiments.studies.quickstart.study import Settings
from models import count
from scaling.hparams import fit_hparams
from scaling.table.runs import Runs

DESIGNS = {
    "three sizes along one line": Settings(
        tune=(Sweep(24, 8e10), Sweep(32, 1.6e11), Sweep(40, 3.2e11)), refine=0
    ),
    "two sizes off one line": Settings(refine=0),
    "two sizes off one line, refined": Settings(),
}
VERIFY = (104, 5.76e12)  # width and FLOPs of the run that is extrapolated to
ORIGIN = np.log([33_536, 536_064])  # N and D where the planted law is centred


class World:
    """A planted law and its surfaces."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.law = np.array([np.log(0.0115) + 0.25 * rng.standard_normal(), *rng.normal((-0.45, -0.05), 0.2)])
        self.curvature, self.stretch = rng.uniform(0.05, 0.11), rng.uniform(0.01, 0.4)
        self.sharpens = rng.normal(0, 0.1)

    def best(self, n_params: float, n_tokens: float) -> float:
        """Log of the best rate."""
        return float(self.law @ [1.0, *(np.log([n_params, n_tokens]) - ORIGIN)])

    def cost(self, n_params: float, log_lr: float, best: float) -> float:
        """Log loss above the optimum's."""
        off = np.expm1(self.stretch * (log_lr - best)) / self.stretch
        return self.curvature * (n_params / 33_536) ** self.sharpens * off**2 / 2

    def trained(self, configs: list[RunConfig]) -> pd.DataFrame:
        """The rows of these runs."""
        rows, scatter = [], {}
        for config in configs:
            counts = count(config.model)
            size, flops = (counts.n_params, config.n_tokens), config.n_tokens * counts.flops_per_token(128)
            off = scatter.setdefault(size, 0.07 * self.rng.standard_normal())
            cost = self.cost(size[0], np.log(config.optimizer.lr), self.best(*size) + off)
            noise = 0.01 * (1e11 / flops) ** 0.5 * (1 + 2 * cost) * self.rng.standard_normal()
            row = {"n_params": size[0], "n_tokens": size[1], "lr": config.optimizer.lr, "flops": flops}
            rows.append(row | {"loss": 2 * np.exp(cost + noise), "stage": "tune"})
        return pd.DataFrame(rows)


def tuned_by(settings: Settings, seed: int) -> tuple[float, float, float, float]:
    """FLOPs of the tuning, error of the verification run's log rate, cost there, mean cost over the grid."""
    world = World(np.random.default_rng(seed))
    table = world.trained(quickstart.tune(settings))
    table = pd.concat([table, world.trained(quickstart.refine(settings, Runs(table)))], ignore_index=True)
    laws, costs = fit_hparams(Runs(table), n_draws=50), []
    cells = [(d, budget.flops) for budget in settings.grid for d in budget.d_models]
    for d_model, flops in [*cells, VERIFY]:
        config = quickstart.tuned_run(settings, laws, d_model, flops)
        n_params, log_lr = count(config.model).n_params, np.log(config.optimizer.lr)
        best = world.best(n_params, config.n_tokens)
        costs.append(world.cost(n_params, log_lr, best))
        error = log_lr - best
    return float(table["flops"].sum()), error, costs[-1], float(np.mean(costs[:-1]))


def main() -> None:
    """Prints a line a design."""
    n_studies = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    print(f"{'':36}{'FLOPs':>9}{'error':>8}{'cost, %':>9}{'9 of 10':>9}{'grid':>7}")
    for name, settings in DESIGNS.items():
        flops, error, cost, grid = np.array([tuned_by(settings, seed) for seed in range(n_studies)]).T
        print(
            f"{name:36}{flops.mean():9.2g}{np.sqrt(np.mean(error**2)):8.2f}{100 * cost.mean():9.2f}"
            f"{100 * np.quantile(cost, 0.9):9.2f}{100 * grid.mean():7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
