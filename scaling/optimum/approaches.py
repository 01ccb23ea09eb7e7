"""Three ways to the compute-optimal size, on the same runs, and why they disagree.

Hoffmann et al. 2022 (arXiv 2203.15556), sections 3.1 to 3.3: (1) the envelope of the runs, the best at each
compute; (2) the minima of IsoFLOP profiles; (3) the law fitted to all runs. All see the same data, so what
sets them apart is method. Part of it can be told: each is applied to losses that the fitted law itself gives
at these sizes and budgets, without noise, where the right answer is known. What it then reads off the law's
own exponent is the method's bias for this grid: budgets whose sizes lie to one side of the best, walls of
unequal steepness, an envelope that holds few sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from scaling.fitting.fit import Fit
from scaling.laws import CHINCHILLA
from scaling.laws.evaluation import values
from scaling.profiles import isoflop
from scaling.profiles.envelope import envelope
from scaling.profiles.isoflop import PowerLaw
from scaling.table.runs import Runs

NAMES = {1: "envelope", 2: "profiles", 3: "law"}


@dataclass(frozen=True)
class Approaches:
    """Exponents a of N* ~ C^a by approach, with intervals where there are any.

    `bias` is what an approach reads off losses of the fitted law, less the law's own exponent.
    """

    exponents: dict[int, tuple[float, float, float]]
    bias: dict[int, float]

    def __str__(self) -> str:
        lines = []
        for approach, (a, lo, hi) in self.exponents.items():
            between = f" [{lo:.3f}, {hi:.3f}]" if np.isfinite(lo) else ""
            off = ""
            if approach in self.bias:
                off = f"; it reads {self.bias[approach]:+.3f} off losses of the law itself"
            lines.append(f"  approach {approach} ({NAMES[approach]}): N* ~ C^{a:.3f}{between}{off}")
        return "\n".join(lines)


def approaches(runs: Runs, fit: Fit, n_bootstrap: int = 200, seed: int = 0) -> Approaches:
    """What approaches 1 and 2 say of runs that Chinchilla's law was fitted to with approach 3.

    Raises:
      ValueError: the fit is of another law.
    """
    if fit.law != CHINCHILLA.name:
        raise ValueError(f"approaches are compared for the law {CHINCHILLA.name}, not {fit.law}")
    usable = runs.for_fit()
    table = usable.table
    x = {name: table[name].to_numpy(float) for name in CHINCHILLA.columns}
    of_law = values(CHINCHILLA, np.array([*fit.params.values()])[None], x)[0]
    lawful = replace(usable, table=table.assign(loss=of_law))
    alpha, beta = fit.params["alpha"], fit.params["beta"]
    own = beta / (alpha + beta) if alpha + beta > 0 else np.nan
    draws = fit.samples[:, 4] / np.maximum(fit.samples[:, 3:].sum(axis=1), 1e-12)
    tails = [(1 - fit.level) / 2, (1 + fit.level) / 2]
    exponents: dict[int, tuple[float, float, float]] = {}
    bias: dict[int, float] = {}
    ways: dict[int, Callable[[Runs], PowerLaw | None]] = {
        1: lambda runs: envelope(runs, n_bootstrap, seed, fit.level),
        2: lambda runs: _profiles(runs, n_bootstrap, seed, fit.level),
    }
    for approach, way in ways.items():
        found, exact = way(usable), way(lawful)
        if found:
            exponents[approach] = (found.exponent, found.lo, found.hi)
            if exact:
                bias[approach] = exact.exponent - own
    lo, hi = np.quantile(draws, tails) if len(draws) else (np.nan, np.nan)
    exponents[3] = (own, float(lo), float(hi))
    return Approaches(exponents, bias)


def _profiles(runs: Runs, n_bootstrap: int, seed: int, level: float) -> PowerLaw | None:
    if not isoflop.budgets(runs.table):
        return None
    return isoflop.profiles(runs, n_bootstrap, seed, level).n_params
