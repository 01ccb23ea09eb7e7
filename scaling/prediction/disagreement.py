"""What the runs cannot tell: where the forms that a forecast mixes part, and the run that would decide."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scaling import laws
from scaling.fitting.result import Fit
from scaling.optimum.frontier import frontier
from scaling.prediction.law_comparison import distinguishing_run

TOLD = 0.01  # from this standard deviation of log loss between the forms, it is said
AHEAD = np.array(
    [3.0, 10, 30, 100, 300, 1000, 3000, 10_000]
)  # times the largest compute: where they are asked


def spread(fit: Fit, x: Mapping[str, np.ndarray]) -> np.ndarray:
    """Standard deviation, by weight, of what the forms say of the log loss of new runs [rows]; 0 without."""
    if fit.forms is None:
        return np.zeros(len(next(iter(x.values()))))
    return fit.forms.spread(x)


def in_words(fit: Fit, x: Mapping[str, np.ndarray]) -> list[str]:
    """For each new run, how much the forms differ about it; "" where by less than TOLD [rows]."""
    return [f"the forms differ by {off:.1%} here" if off >= TOLD else "" for off in spread(fit, x)]


def parting(fit: Fit) -> str:
    """From which compute on the forms part, along the best sizes, and the run that would tell the two of most
    weight apart; "" where they do not within 10,000 times the largest run's."""
    if fit.forms is None:
        return ""
    law, known = laws.find(fit.forecast.law), fit.forecast
    table = pd.DataFrame({name: known.units[name] * known.x[name] for name in law.columns})
    table = table.assign(flops=6 * table["n_params"] * table["n_tokens"])
    best = frontier(fit, fit.evidence["flops"][1] * AHEAD)
    off = spread(fit, {"n_params": best.n_params, "n_tokens": best.n_tokens})
    beyond = np.flatnonzero(off >= TOLD)
    if not len(beyond) or np.isnan(off).any():  # a law without a best size says so itself
        return ""
    said = f"from {AHEAD[beyond[0]]:,.0f} times the largest run's compute on the forms differ by {TOLD:.0%} "
    said += f"or more, at 10,000 times by {off[-1]:.1%}: these runs cannot tell them apart"
    two = np.argsort(fit.forms.weights)[:-3:-1]
    pair = [(laws.find(fit.forms.forecasts[i].law), fit.forms.forecasts[i]) for i in two]
    run = distinguishing_run(pair, table)
    if run is None:
        return said
    return f"{said}; a run of N = {run['n_params']:.3g}, D = {run['n_tokens']:.3g} would"
