"""Laws of whole curves fitted to what runs of one model recorded, finished or not, and what they say of ends.

The training losses of metrics.jsonl are rows with the learning rates up to them, so a branch of a trunk, or a
run that is half done, is evidence as well. How far a law is off at the end of a run that it has not seen is
measured: each finished run is left out once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy import stats

import scaling
from experiments.config import RunConfig
from experiments.training import metrics
from experiments.training.optim import hyperparameters, learning_rate
from scaling.fitting.fit import in_units
from scaling.fitting.solver import Problems, best_of_starts, solve
from scaling.laws import Law, find
from scaling.laws.law import values
from scaling.laws.training_curve.annealing import annealing_columns
from scaling.laws.training_curve.multi_power import multi_power_columns

COLUMNS = {"annealing_curves": annealing_columns, "multi_power_curves": multi_power_columns}
EARLY = 0.1  # of the longest run: what is measured before is of the warm-up, which no law of curves knows
FEWEST = 3  # finished runs, to know how far a law is off


@dataclass(frozen=True)
class Record:
    """What a run has recorded: lines of metrics.jsonl, and its final validation loss (NaN: not finished)."""

    run_id: str
    config: RunConfig
    events: list[dict[str, Any]]
    final: float


@dataclass(frozen=True)
class CurveFit:
    """A law of curves, and log(measured / predicted) at the end of each finished run, by the others."""

    fit: scaling.Fit
    off: np.ndarray

    def losses(self, x: pd.DataFrame) -> np.ndarray:
        """By the fitted parameters, at each row of the law's columns."""
        return values(find(self.fit.law), np.array([list(self.fit.params.values())]), by_name(x))[0]

    def end(self, config: RunConfig, level: float = 0.9) -> scaling.Prediction:
        """The final validation loss of a run of any schedule, with the interval of one measurement."""
        loss, n = float(self.losses(end_columns(self.fit.law, config))[0]), len(self.off)
        if n < FEWEST:
            return scaling.Prediction(loss, np.nan, np.nan)
        spread = np.sqrt(np.square(self.off).mean() * (1 + 1 / n))
        half = float(np.exp(stats.t.ppf((1 + level) / 2, n) * spread))
        return scaling.Prediction(loss, loss / half, loss * half)


def read_records(folder: Path, configs: Iterable[RunConfig]) -> list[Record]:
    """What these runs of the study in `folder` have recorded; nothing of those that have not begun."""
    found = []
    for config in configs:
        events = metrics.read(folder / "runs" / config.run_id / "metrics.jsonl")
        ends = [e["val_loss"] for e in events if "val_loss" in e and e["step"] == config.n_steps]
        found.append(Record(config.run_id, config, events, ends[-1] if ends else np.nan))
    return found


def rates(config: RunConfig) -> np.ndarray:
    """The learning rate of every step, float64[n_steps]."""
    lr = learning_rate(config.schedule.name, jnp.arange(config.n_steps), hyperparameters(config))
    return np.asarray(lr, float)


def end_columns(law: str, config: RunConfig) -> pd.DataFrame:
    """The law's columns at the end of a run: one row."""
    return COLUMNS[law](rates(config), np.array([config.n_steps])).assign(training=0.0)


def curve_table(law: str, records: Sequence[Record]) -> pd.DataFrame:
    """A row for each training loss, at the middle of its steps, and each end: run_id, step, loss and columns.

    Steps that runs have in common are rows of the first of them alone, and `shared`.

    Raises:
      ValueError: nothing was recorded after the first tenth of the longest run.
    """
    longest, tables = max(record.config.n_steps for record in records), []
    for record in records:
        lines = [line for line in record.events if np.isfinite(line.get("train_loss") or np.nan)]
        ends = np.array([line["step"] for line in lines], int)
        steps = (ends + np.concatenate([[0], ends[:-1]]) + 1) // 2
        late = steps >= EARLY * longest
        loss = np.array([line["train_loss"] for line in lines], float)
        if late.any():
            rows = COLUMNS[law](rates(record.config), steps[late])
            tables.append(rows.assign(run_id=record.run_id, step=ends[late], loss=loss[late], training=1.0))
        if np.isfinite(record.final):
            rows = end_columns(law, record.config)
            tables.append(rows.assign(run_id=record.run_id, step=record.config.n_steps, loss=record.final))
    if not tables:
        raise ValueError(
            f"no loss is recorded after {EARLY:.0%} of the longest run's {longest:,} steps, and before "
            "then runs warm up; let one train on"
        )
    table = pd.concat(tables, ignore_index=True)
    table = table.assign(shared=table.duplicated(["step", "loss"], keep=False))
    return table.drop_duplicates(["step", "loss"], ignore_index=True)


def by_name(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The numbers of a table, by their column."""
    return {str(name): table[name].to_numpy(float) for name in table if name != "run_id"}


def fit_curves(law: str, records: Sequence[Record]) -> CurveFit:
    """The law fitted to all records, and how far it is off at the end of each finished run without it.

    Raises:
      ValueError: as `scaling.fit`.
    """
    table = curve_table(law, records)
    found = scaling.fit(table.drop(columns="shared"), law=law, n_bootstrap=0)
    finished = [record for record in records if np.isfinite(record.final)]
    if len(finished) < FEWEST:
        return CurveFit(found, np.zeros(0))
    return CurveFit(found, off_without(find(law), table, finished, found.delta))


def off_without(law: Law, table: pd.DataFrame, finished: Sequence[Record], delta: float) -> np.ndarray:
    """log(measured / predicted) at the end of each run, by the law fitted to all rows but its own [runs].

    All these fits are one: rows left out weigh nothing.

    Args:
      law: of curves; table: of `curve_table`, all its rows.
      finished: the runs to leave out, one at a time.
      delta: of the Huber loss.
    """
    x, y, units = in_units(law, table)
    run, shared = table["run_id"].to_numpy(str), table["shared"].to_numpy(bool)
    weight = np.array([(run != record.run_id) | shared for record in finished], float)
    starts, none = np.array(law.starts), np.zeros((1, len(law.params)))
    problems = Problems(y[None], weight.repeat(len(starts), axis=0), np.array([delta]), none, none)
    solved = solve(law, x, problems, np.tile(starts, (len(finished), 1)))
    theta = law.unscale(best_of_starts(solved, len(starts)).theta, units)
    ends = by_name(pd.concat([end_columns(law.name, record.config) for record in finished]))
    return np.log([record.final for record in finished]) - np.log(np.diagonal(values(law, theta, ends)))


def fit_best(records: Sequence[Record]) -> dict[str, CurveFit]:
    """Both laws, that first which was less off at ends that it had not seen."""
    fits = {law: fit_curves(law, records) for law in COLUMNS}
    return dict(sorted(fits.items(), key=lambda item: np.square(item[1].off).mean()))
