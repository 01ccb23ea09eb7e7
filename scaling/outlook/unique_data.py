"""What text that nobody else has is worth: the compute that lowers the loss as much as one more unique token.

With C FLOPs and U unique tokens, each met D/U times, the best size is that of the lowest L(N, D, U). One more
unique token lowers the loss by -dL/dU, one more FLOP by -dL/dC, on which of size and passes it is spent being
the same at the best size. Their ratio is FLOPs a token, and at a price of FLOPs money.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from scaling import laws
from scaling.fitting.result import Fit
from scaling.optimum.frontier import Spending, best_sizes, interval, losses

# E, A, B, alpha, beta, R_D, R_N of data_constrained: Muennighoff et al. 2023 (arXiv 2305.16264), appendix A.
PUBLISHED = (1.8691, 520.82, 1487.7, 0.3526596, 0.3526596, 15.387756, 5.309743)
ENDLESS = 1e30  # unique tokens
PARTS = (1 / 4, 1 / 16, 1 / 64)  # of the tokens that are best where text is endless, that there are
BUDGETS = (1e22, 1e24, 1e26)
STEP = 1e-3  # of the differences, in logarithms
DRAWS = 200


def reads_unique_tokens(fit: Fit | None) -> bool:
    """Whether the fit's law knows what repeated tokens are worth."""
    return fit is not None and "unique_tokens" in laws.find(fit.forecast.law).columns


def data_worth(fit: Fit | None, dollars_a_flop: float, flops: Iterable[float] = BUDGETS) -> pd.DataFrame:
    """What one more unique token is worth, by budget and by how little text there is.

    A row a budget and one of PARTS: flops; tokens, the best number where text is endless; unique_tokens, as
    many of them as there are; loss; and with their intervals (_lo, _hi; NaN without draws) by how much a
    million more lower it, "nats", the FLOPs that lower it as much, "worth_flops", and their price, "dollars".

    Args:
      fit: of a law that reads unique_tokens; None, or of another law: the published one.
      dollars_a_flop: the price of compute.
      flops: budgets.
    """
    if fit is not None and reads_unique_tokens(fit):
        law, cost, level = laws.find(fit.forecast.law), fit.flops_per_token, fit.level
        theta = np.vstack([fit.forecast.theta, fit.forecast.samples[:DRAWS]])
    else:
        law, cost, level, theta = laws.find("data_constrained"), None, 0.9, np.array([PUBLISHED])

    def spending(unique_tokens: float) -> Spending:
        columns = {"unique_tokens": unique_tokens}
        return Spending(law, cost, None, np.inf, np.inf, 0.0, columns)

    rows = []
    for budget in flops:
        endless, c = spending(ENDLESS), np.array([budget])
        tokens = float(endless.n_tokens(best_sizes(endless, theta[:1], c), c)[0, 0])
        for part in PARTS:
            unique, here = tokens * part, spending(tokens * part)
            sizes = best_sizes(here, theta, c)
            by_data = [losses(spending(unique * np.exp(h)), theta, sizes, c) for h in (-STEP, STEP)]
            by_compute = [losses(here, theta, sizes, c * np.exp(h)) for h in (-STEP, STEP)]
            nats = (by_data[0] - by_data[1]) / (2 * STEP) / unique
            worth = nats / ((by_compute[0] - by_compute[1]) / (2 * STEP) / budget)
            found = {"nats": 1e6 * nats, "worth_flops": 1e6 * worth, "dollars": 1e6 * worth * dollars_a_flop}
            row = {"flops": budget, "tokens": tokens, "unique_tokens": unique}
            row["loss"] = float(losses(here, theta, sizes, c)[0, 0])
            for name, values in found.items():
                lo, hi = interval(values[1:], level)
                row |= {name: float(values[0, 0]), f"{name}_lo": float(lo[0]), f"{name}_hi": float(hi[0])}
            rows.append(row)
    return pd.DataFrame(rows)
