"""Whole loss curves: tables in which a run (run_id) has a row for each of several moments (n_tokens).

Points of one curve are not independent: fits resample whole runs. And a point inside a learning-rate decay
stands for no run of that length: one planned to end there would have a lower loss (Hoffmann et al. 2022,
arXiv 2203.15556, appendix B; Porian et al. 2024, arXiv 2406.19146).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def end_points(table: pd.DataFrame) -> pd.DataFrame:
    """The last row of each run."""
    return table.sort_values("n_tokens", kind="stable").drop_duplicates("run_id", keep="last").sort_index()


def at_flops(table: pd.DataFrame, budgets: Sequence[float]) -> pd.DataFrame:
    """Curves cut at budgets: a row for each run and budget that its curve reaches, as for IsoFLOP profiles.

    Loss and n_tokens are interpolated linearly between the logarithms of neighbouring points, as Porian et
    al. 2024 (arXiv 2406.19146) did; all else is as in the run's first row. Nothing is extrapolated.

    Args:
      budgets: FLOPs, in ascending or any other order.
    """
    rows = []
    finite = table.loc[np.isfinite(table["loss"].to_numpy(float))]
    for _, run in finite.sort_values("flops").groupby("run_id", sort=False):
        log_c, about = np.log(run["flops"].to_numpy(float)), run.iloc[0].to_dict()
        for budget in budgets:
            if log_c[0] <= np.log(budget) <= log_c[-1]:
                cut = {
                    name: float(np.exp(np.interp(np.log(budget), log_c, np.log(run[name].to_numpy(float)))))
                    for name in ("n_tokens", "loss")
                }
                rows.append(about | cut | {"flops": float(budget)})
    return pd.DataFrame(rows, columns=list(table.columns))


def in_decay(table: pd.DataFrame) -> np.ndarray:
    """Which rows [rows] lie inside a learning-rate decay: after the peak of the run's lr, not at its end.

    Without a column lr, or where it is the same throughout a run, nothing is known and the answer is no.
    """
    inside = np.zeros(len(table), bool)
    if "lr" not in table:
        return inside
    tokens, rates = table["n_tokens"].to_numpy(float), table["lr"].fillna(0.0).to_numpy(float)
    for rows in table.reset_index(drop=True).groupby("run_id").indices.values():
        rows = rows[np.argsort(tokens[rows], kind="stable")]
        past_peak = np.arange(len(rows)) > rates[rows].argmax()
        inside[rows[:-1]] = (past_peak & (rates[rows] < rates[rows].max()))[:-1]
    return inside
