"""Three ways to the compute-optimal size, on the same runs, and why they disagree.

Hoffmann et al. 2022 (arXiv 2203.15556), sections 3.1 to 3.3: (1) the envelope of the runs, the best at each
compute; (2) the minima of IsoFLOP profiles; (3) the law fitted to all runs. All see the same data, so what
sets them apart is method. Part of it can be measured: each is applied to losses that the fitted law itself
gives at these sizes and budgets, without noise, where the right answer is known. What it then reads off the
law's own exponent is the method's bias for this grid: budgets whose sizes lie to one side of the best, walls
of unequal steepness, an envelope that holds few sizes.
"""

from dataclasses import dataclass, replace

import numpy as np

from scaling import laws
from scaling.fitting.result import Fit
from scaling.laws.law import values
from scaling.profiles import isoflop
from scaling.profiles.envelope import envelope
from scaling.table.runs import UsableRuns

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


def approaches(usable: UsableRuns, fit: Fit, n_bootstrap: int = 200, seed: int = 0) -> Approaches:
    """What approaches 1 and 2 say of the runs a law was fitted to; 2 is what the fit has (`Fit.profiles`).

    Args:
      usable: those runs, with flops, n_params and loss.
      fit: of a law that has a formula of the best size's exponent (`Law.size_exponent`).
      n_bootstrap: resamples behind the envelope's interval and draws behind the biases; seed: of them.

    Raises:
      ValueError: the fit is of another law.
    """
    law = laws.find(fit.law)
    if law.size_exponent is None:
        known = " and ".join(name for name, other in laws.LAWS.items() if other.size_exponent)
        raise ValueError(f"approaches are compared for the law {known}, not {fit.law}")
    table, theta = usable.table, np.array([*fit.params.values()])[None]
    of_law = values(law, theta, {name: table[name].to_numpy(float) for name in law.columns})[0]
    lawful = replace(usable, table=table.assign(loss=of_law))
    own, draws = float(law.size_exponent(theta)[0]), law.size_exponent(fit.samples)
    tails = [(1 - fit.level) / 2, (1 + fit.level) / 2]
    exponents: dict[int, tuple[float, float, float]] = {}
    bias: dict[int, float] = {}
    found_and_exact = {
        1: (envelope(usable, n_bootstrap, seed, fit.level), envelope(lawful, n_bootstrap=0)),
        2: [each and each.n_params for each in (fit.profiles, _profiles(lawful, n_bootstrap, seed))],
    }
    for approach, (found, exact) in found_and_exact.items():
        if found:
            exponents[approach] = (found.exponent, found.lo, found.hi)
            if exact:
                bias[approach] = exact.exponent - own
    lo, hi = np.quantile(draws, tails) if len(draws) else (np.nan, np.nan)
    exponents[3] = (own, float(lo), float(hi))
    return Approaches(exponents, bias)


def _profiles(usable: UsableRuns, n_bootstrap: int, seed: int) -> isoflop.Profiles | None:
    return isoflop.profiles(usable, n_bootstrap, seed) if isoflop.budgets(usable.table) else None
