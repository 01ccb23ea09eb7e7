"""What studies do with a law: fit it to the smaller runs, say what the largest will come to, and compare."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from scaling.laws import find
from scaling.laws.law import values
from scaling.table.runs import check


def fit_law(table: pd.DataFrame, law: str, n_bootstrap: int, level: float) -> scaling.Fit:
    """The law of measured rows, with intervals from resampling them; rows of one "run_id" go together.

    Args:
      table: the columns of the law and its target.
      law: a name that `scaling.laws.find` knows.
      n_bootstrap: resamples; 0 for no intervals.
      level: of the intervals.
    """
    form = find(law)
    names = [*form.columns, form.target]
    rows = pd.DataFrame(table[names], dtype=float)
    if "run_id" in table:
        rows = rows.assign(run_id=table["run_id"])
    runs = check(rows.reset_index(drop=True), {}, needed=tuple(names))
    return scaling.fit(runs, law=law, n_bootstrap=n_bootstrap, level=level)


def with_predictions(table: pd.DataFrame, fit: scaling.Fit) -> pd.DataFrame:
    """The table with what the fit says of each row: predicted, and its interval lo, hi."""
    said = fit.predict(**{name: table[name].to_numpy(float) for name in find(fit.law).columns})
    return table.assign(predicted=said.loss, lo=said.lo, hi=said.hi)


def resampled(fit: scaling.Fit, scatter: float, columns: dict[str, Any]) -> dict[str, np.ndarray]:
    """{"loss", "lo", "hi"}: the law itself, with intervals for a measured point from fits to resampled runs.

    A forecast takes points as independent of each other; here many are of one run, which were drawn together.

    Args:
      fit: with resamples.
      scatter: standard deviation of points about the law.
      columns: float arrays of one length, those of the law.
    """
    law = find(fit.law)
    theta = np.array([[fit.params[name] for name in law.params]])
    draws = values(law, fit.samples if len(fit.samples) else theta, columns)
    draws = draws + scatter * np.random.default_rng(0).standard_normal(draws.shape)
    lo, hi = np.quantile(draws, [(1 - fit.level) / 2, (1 + fit.level) / 2], axis=0)
    return {"loss": values(law, theta, columns)[0], "lo": lo, "hi": hi}


def compare(table: pd.DataFrame, size: str, target: str, same: list[str]) -> dict[str, float]:
    """How well the rows of the largest size were predicted, to which the law was not fitted.

    {"rms_error", "inside": share of rows in the interval, "rms_unchanged": the error of another prediction,
    that the largest does as the next smaller one did}.

    Args:
      table: of all sizes; predicted, lo, hi, and the columns that the others name.
      size: the column of sizes.
      target: the column that was predicted.
      same: columns in which a row and that of the next smaller size are alike.
    """
    before, last = sorted(table[size].unique())[-2:]
    largest = table[table[size] == last].merge(
        table.loc[table[size] == before, [*same, target]], on=same, suffixes=("", "_before")
    )
    came, said, lo, hi, unchanged = (
        largest[name].to_numpy(float) for name in (target, "predicted", "lo", "hi", f"{target}_before")
    )
    return {
        "rms_error": rms(said - came),
        "inside": float(np.mean((lo <= came) & (came <= hi))),
        "rms_unchanged": rms(unchanged - came),
    }


def rms(errors: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.asarray(errors, float) ** 2)))


def parameters(fit: scaling.Fit) -> dict[str, Any]:
    """Of each parameter its value and interval, as JSON has them."""
    return {
        name: {"value": value, "interval": list(fit.ci[name]) if name in fit.ci else None}
        for name, value in fit.params.items()
    }


def in_words(fit: scaling.Fit) -> str:
    """The parameters with their intervals, in words."""
    return ", ".join(
        f"{name} {value:.3g}" + (" [{:.3g}, {:.3g}]".format(*fit.ci[name]) if name in fit.ci else "")
        for name, value in fit.params.items()
    )


def read_fit(path: Path) -> scaling.Fit:
    """A fit that was written before the runs it predicts."""
    return scaling.Fit.from_json(json.loads(path.read_text()))
