"""What the calculator in the page reads: optima, losses and settings on a grid, and what machines cost.

The page interpolates in logs (page.js) and refuses what lies outside the grid. Rows are budgets; columns are
sizes as ratios to the best size of that budget, 1 in the middle.
"""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

import scaling
from scaling.optimum.frontier import Spending, spending
from scaling.outlook.cost import HARDWARE, MFU, PUE
from scaling.report.data import ReportData
from scaling.report.tables import BEYOND, splits_budgets
from scaling.report.theme import sci

AHEAD = 1e3  # the grid ends so far past the largest run
PER_DECADE = 8  # budgets
SIZES_PER_DECADE = 24  # at which the cost of a token is given
RATIOS = np.geomspace(1 / 30, 30, 17)
DIGITS = 6


def grid(data: ReportData, law: pd.DataFrame) -> dict[str, Any]:
    """Empty where no law splits a budget, or it knows no best size.

    flops, n_params, n_lo, n_hi, d_lo, d_hi [budgets]; loss, lo, hi and what was swept of lr, lr_lo, lr_hi,
    batch_tokens, batch_lo, batch_hi [budgets, ratios]; per_token: FLOPs a token at `sizes` [sizes].
    """
    if data.fit is None or not splits_budgets(data.fit):
        return {}
    spent = law["flops"].to_numpy(float)
    low, high = float(spent.min() / BEYOND), float(spent.max() * AHEAD)
    flops = np.geomspace(low, high, round(PER_DECADE * math.log10(high / low)) + 1)
    best = scaling.frontier(data.fit, flops)
    if not np.all(np.isfinite(best.n_params)):
        return {}
    n_params = best.n_params[:, None] * RATIOS
    spend = spending(data.fit)
    n_tokens = spend.n_tokens(n_params, flops[:, None])
    predicted = data.fit.predict(n_params, n_tokens)
    ends = {
        "n_lo": best.n_params_lo,
        "n_hi": best.n_params_hi,
        "d_lo": best.n_tokens_lo,
        "d_hi": best.n_tokens_hi,
    }
    columns = {
        "flops": flops,
        "n_params": best.n_params,
        **ends,
        **predicted._asdict(),
        **_settings(data, n_params, n_tokens),
        **_costs(spend, n_params.min(), n_params.max()),
    }
    return {
        **{name: _rounded(values) for name, values in columns.items() if np.all(np.isfinite(values))},
        "ratios": RATIOS.tolist(),
        "level": data.fit.level,
        "hardware": {key: asdict(device) for key, device in HARDWARE.items()},
        "pue": PUE,
        "mfu": MFU,
        "first": f"{10 * spent.max():.0e}".replace("e+", "e"),
        "reach": [sci(low), sci(high)],
    }


def _costs(spend: Spending, smallest: float, largest: float) -> dict[str, np.ndarray]:
    sizes = np.geomspace(smallest, largest, round(SIZES_PER_DECADE * math.log10(largest / smallest)) + 1)
    return {"sizes": sizes, "per_token": spend.cost(sizes)}


def _settings(data: ReportData, n_params: np.ndarray, n_tokens: np.ndarray) -> dict[str, np.ndarray]:
    """The laws' advice for every size, where there are laws."""
    if data.lr is None:
        return {}
    advice = asdict(data.lr.predict(n_params, n_tokens))
    return {name: values for name, values in advice.items() if name != "penalty"}


def _rounded(values: np.ndarray) -> Any:
    return np.vectorize(lambda value: float(f"{value:.{DIGITS}g}"))(values).tolist()
