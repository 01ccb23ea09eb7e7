"""What the runs cannot tell: where forms of low floor expect less, and the run that would decide."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scaling import laws
from scaling.fitting.result import Fit
from scaling.optimum.frontier import frontier
from scaling.prediction.law_comparison import distinguishing_run

TOLD = 0.02  # of the loss; from here on it is said
AHEAD = np.array(
    [3.0, 10, 30, 100, 300, 1000, 3000, 10_000]
)  # times the largest compute: where they are asked


def less(fit: Fit, x: Mapping[str, np.ndarray]) -> np.ndarray:
    """How much lower a loss of new runs forms of low floor expect, of the loss [rows]; 0 without them."""
    if fit.forms is None:
        return np.zeros(len(next(iter(x.values()))))
    return -np.expm1(-fit.forms.less(x))


def in_words(fit: Fit, x: Mapping[str, np.ndarray]) -> list[str]:
    """For each new run, how much less forms of low floor expect; "" where by less than TOLD [rows]."""
    return [f"forms of low floor expect {off:.1%} less here" if off >= TOLD else "" for off in less(fit, x)]


def parting(fit: Fit) -> str:
    """From which compute on forms of low floor expect less, along the best sizes, and the run that would tell
    the two forms of most weight apart; "" where they do not within 10,000 times the largest run's."""
    if fit.forms is None:
        return ""
    law, known = laws.find(fit.forecast.law), fit.forecast
    table = pd.DataFrame({name: known.units[name] * known.x[name] for name in law.columns})
    table = table.assign(flops=6 * table["n_params"] * table["n_tokens"])
    best = frontier(fit, fit.evidence["flops"][1] * AHEAD)
    off = less(fit, {"n_params": best.n_params, "n_tokens": best.n_tokens})
    beyond = np.flatnonzero(off >= TOLD)
    if not len(beyond) or np.isnan(off).any():  # a law without a best size says so itself
        return ""
    said = (
        f"from {AHEAD[beyond[0]]:,.0f} times the largest run's compute on forms of low floor expect "
        f"{TOLD:.0%} less or more, at 10,000 times {off[-1]:.1%}: these runs do not tell where the floor is"
    )
    two = np.argsort(fit.forms.weights)[:-3:-1]
    pair = [(laws.find(fit.forms.forecasts[i].law), fit.forms.forecasts[i]) for i in two]
    run = distinguishing_run(pair, table)
    if run is None:
        return said
    return f"{said}; a run of N = {run['n_params']:.3g}, D = {run['n_tokens']:.3g} would"
