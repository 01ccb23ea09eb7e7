"""What the study `mixture` computes from tables of runs: a law for each domain's loss, its errors on mixtures
that it has not seen, and how smaller models rank mixtures.

A table has a row for each run, with share_<domain> and loss_<domain>.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import scaling
from scaling import laws
from scaling.laws.law import values
from scaling.table.runs import check

FOLDS = 4  # of mixtures, for the error of a law on mixtures that it was not fitted to


def share_columns(domains: Sequence[str]) -> list[str]:
    """The columns that the laws read."""
    return [f"share_{domain}" for domain in domains]


def inside(table: pd.DataFrame, domains: Sequence[str]) -> pd.DataFrame:
    """The runs that laws are fitted to: all mixtures but the corners. What a model says of a text whose
    symbols it has never seen, no law of shares describes, and one such run would bend it everywhere."""
    rows = table[share_columns(domains)].max(axis=1) < 1
    return pd.DataFrame(table[rows]).reset_index(drop=True)


def fit_law(
    table: pd.DataFrame,
    domains: Sequence[str],
    name: str,
    n_bootstrap: int = 0,
    level: float = 0.9,
    seed: int = 0,
) -> scaling.Fit:
    """The law of one domain's loss over the shares of all.

    Args:
      table: of runs, without corners.
      domains: all of them, in the order of the law.
      name: of the domain whose loss it is.
      n_bootstrap: draws behind intervals; level: of these; seed: of the draws.
    """
    rows = table[share_columns(domains)].assign(loss=table[f"loss_{name}"])
    runs = check(pd.DataFrame(rows, dtype=float), {}, needed=(*share_columns(domains), "loss"))
    law = f"mixture:{','.join(domains)}"
    return scaling.fit(runs, law=law, n_bootstrap=n_bootstrap, level=level, seed=seed)


def predicted(fit: scaling.Fit, table: pd.DataFrame, domains: Sequence[str]) -> np.ndarray:
    """The loss that a law gives on the mixtures of a table."""
    shares = {column: table[column].to_numpy(float) for column in share_columns(domains)}
    return np.asarray(fit.predict(**shares).loss)


def held_out_errors(table: pd.DataFrame, domains: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """RMS relative error of the law of each name on mixtures that it was not fitted to."""
    fold, found = np.arange(len(table)) % FOLDS, {}
    for name in names:
        errors = []
        for out in range(FOLDS):
            kept, left = (pd.DataFrame(table[rows]) for rows in (fold != out, fold == out))
            fit = fit_law(kept.reset_index(drop=True), domains, name)
            errors.append(predicted(fit, left, domains) / left[f"loss_{name}"].to_numpy(float) - 1)
        found[name] = float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))
    return found


def predicted_and_measured(
    fits: Mapping[str, scaling.Fit], table: pd.DataFrame, domains: Sequence[str]
) -> pd.DataFrame:
    """Of each domain with a law, and each run: domain, predicted, measured."""
    each = [
        pd.DataFrame(
            {"domain": name, "predicted": predicted(fit, table, domains), "measured": table[f"loss_{name}"]}
        )
        for name, fit in fits.items()
    ]
    return pd.concat(each, ignore_index=True)


def gain_over_equal(
    fits: Mapping[str, scaling.Fit], weights: Mapping[str, float], shares: Mapping[str, float], level: float
) -> tuple[float, float]:
    """Interval of how much lower the target is on a mixture than on equal shares, relative: that of the laws'
    parameters, drawn from the same resampled runs for all domains.

    Args:
      fits: by domain.
      weights: of the domains' losses in the target.
      shares: of the mixture, by domain.
      level: of the interval.
    """
    both = {f"share_{name}": np.array([share, 1 / len(shares)]) for name, share in shares.items()}
    draws = [
        weights[name] * values(laws.find(fit.forecast.law), fit.forecast.samples, both)
        for name, fit in fits.items()
    ]
    best, equal = np.sum(draws, axis=0).T
    lo, hi = np.quantile(1 - best / equal, [(1 - level) / 2, (1 + level) / 2])
    return float(lo), float(hi)


def rank_correlation(smaller: Sequence[float], larger: Sequence[float]) -> float:
    """Spearman's rho of the targets of two sizes on the same mixtures."""
    rho: Any = stats.spearmanr(smaller, larger)
    return float(rho.statistic)
