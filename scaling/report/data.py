"""What a page is made from: the files of a study directory, or a table of runs and a fit."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from scaling.fitting.fit import Fit
from scaling.hparams.hparams import HparamLaws, fit_hparams
from scaling.hparams.sweeps import AXES
from scaling.optimum.families import Comparison, compare
from scaling.report.sections.missing import Missing
from scaling.table.cell_values import numbers

CURVE_POINTS = 70  # moments of a curve in the page; more cannot be seen
CURVE_START = 0.01  # a curve is shown from this fraction of its run on


@dataclass(frozen=True)
class ReportData:
    """Everything a page shows. What a study does not (yet) have is None or empty, and so is its section."""

    name: str
    source: str
    runs: scaling.Runs
    law_runs: scaling.Runs  # those of them that laws of the loss are about
    fit: Fit | None
    no_fit: str  # why there is no one law, in one line
    families: Comparison | None = None  # instead of one law, where the runs are of several families
    lr: HparamLaws | None = None
    verify: dict[str, Any] | None = None
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    answers: pd.DataFrame = field(default_factory=pd.DataFrame)  # of scaling.emergence, by length
    misprints: pd.DataFrame = field(default_factory=pd.DataFrame)  # of scaling.inverse, by place
    tasks: pd.DataFrame = field(default_factory=pd.DataFrame)  # accuracies, from tasks.csv
    study: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    missing: Missing | None = None  # of a study that is not finished


def load(path: Path, fit: Path | None = None, columns: dict[str, str] | None = None) -> ReportData:
    """Reads a study directory or a table of runs (csv, jsonl, parquet).

    The law is the one in `fit`, else the directory's fit.json, else fitted here (Chinchilla, approach 3).

    Raises:
      ValueError: a file is not what it should be; the message names it.
      OSError: a file cannot be read.
    """
    runs = scaling.read_runs(path, columns)
    folder = path if path.is_dir() else None
    known = fit or (folder / "fit.json" if folder and (folder / "fit.json").exists() else None)
    rates, law_runs = None if folder else _sweeps(runs), runs
    if rates:  # the law of well-tuned runs is of the best of each size
        off = _off_setting(runs.table)
        law_runs = runs.without(off, "not the best setting of their N and D")
        runs = replace(runs, table=runs.table.assign(stage=np.where(off, "tune", "run")))
    families = None if known else _compare_here(law_runs)
    if families:
        law, no_fit = None, "Each family of models has a law of its own."
    else:
        law, no_fit = (Fit.from_json(read_json(known)), "") if known else _fit_here(law_runs)
    if folder is None:
        return ReportData(path.stem, path.name, runs, law_runs, law, no_fit, families, rates)
    lr, verify, study, about = (
        _read_if_there(folder / f"{name}.json") for name in ("lr", "verify", "study", "runs")
    )
    return ReportData(
        name=study.get("name", path.resolve().name),
        source=path.resolve().name,
        runs=runs,
        law_runs=runs,
        fit=law,
        no_fit=no_fit,
        families=families,
        lr=HparamLaws.from_json(lr) if lr else _tuned(runs),
        verify=verify or None,
        curves=read_curves(folder, runs.table),
        answers=_table_if_there(folder / "emergence.csv"),
        misprints=_table_if_there(folder / "misprints.csv"),
        study=study,
        versions=about.get("versions") or study.get("versions", {}),
        device=str(about.get("device", "")),
        tasks=read_tasks(folder / "tasks.csv"),
    )


def _tuned(runs: scaling.Runs) -> HparamLaws | None:
    """The laws of the sweeps of a study that has not written them yet."""
    table = runs.table
    if "stage" not in table or ("family" in table and len(set(table["family"])) > 1):
        return None
    try:
        return fit_hparams(replace(runs, table=table.loc[table["stage"] == "tune"]))
    except ValueError:  # none, or too few of its runs so far
        return None


def _sweeps(runs: scaling.Runs) -> HparamLaws | None:
    """The laws of the settings that a table sweeps; its `stage`, where it has one, says what is swept."""
    if "stage" in runs.table or ("family" in runs.table and len(set(runs.table["family"])) > 1):
        return None
    try:
        return fit_hparams(runs)
    except ValueError:  # no sweep, or nothing that can be called one
        return None


def _off_setting(table: pd.DataFrame) -> np.ndarray:
    """Which runs have another setting than the best run of their N and D."""
    loss = table["loss"].fillna(np.inf)
    best = loss.groupby([table["n_params"], table["n_tokens"]]).transform("idxmin").to_numpy()
    settings = [numbers(table[axis]) for axis in AXES if axis in table]
    return np.any([(setting != setting[best]) & ~np.isnan(setting) for setting in settings], axis=0)


def _compare_here(runs: scaling.Runs) -> Comparison | None:
    try:
        return compare(runs)
    except ValueError:  # one family, or too few runs of one
        return None


def _fit_here(runs: scaling.Runs) -> tuple[Fit | None, str]:
    try:
        return scaling.fit(runs), ""
    except ValueError as error:  # too few usable rows: the page still shows the runs
        return None, f"No law was fitted: {error}"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
      ValueError: the file is not JSON, or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); was it cut short?") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}; expected an object")
    return content


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _table_if_there(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def read_curves(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Training loss of every run with a metrics.jsonl, averaged in windows of equal ratio of FLOPs.

    Columns: flops, loss, and of the run: run_id, stage, n_params, n_tokens, final (its validation loss at the
    end). The first 1 % of each run is left out.
    """
    curves = []
    for run in table.to_dict("records"):
        path = folder / "runs" / str(run["run_id"]) / "metrics.jsonl"
        if path.exists():
            about = {name: run[name] for name in ("run_id", "n_params", "n_tokens")}
            about |= {"stage": run.get("stage", "run"), "final": run["loss"]}
            curves.append(_thin(_train_events(path, CURVE_START * run["flops"])).assign(**about))
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()


def read_tasks(path: Path) -> pd.DataFrame:
    """The table of evaluations, empty if it is not there.

    Raises:
      ValueError: a column is missing.
    """
    if not path.exists():
        return pd.DataFrame()
    table = pd.read_csv(path, dtype={"run_id": str, "task": str})
    missing = {"run_id", "task", "metric", "value", "lo", "hi", "n", "chance"} - set(table)
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(sorted(missing))}; isoflop evaluate writes them all"
        )
    return table


def _train_events(path: Path, start: float) -> pd.DataFrame:
    """Training events from `start` FLOPs on: flops, loss. A half-written last line is skipped."""
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict) and event.get("train_loss") is not None:
            events.append((event["flops"], event["train_loss"]))
    table = pd.DataFrame(events, columns=["flops", "loss"], dtype=float)
    return table.loc[np.isfinite(table["loss"].to_numpy()) & (table["flops"].to_numpy() >= start)]


def _thin(events: pd.DataFrame) -> pd.DataFrame:
    """At most CURVE_POINTS rows: means over windows of equal width in log FLOPs (the last moment is kept)."""
    if len(events) <= CURVE_POINTS:
        return events
    log = np.log(events["flops"].to_numpy())
    window = np.ceil((log - log.min()) / (log.max() - log.min()) * (CURVE_POINTS - 1))
    return events.groupby(window).agg({"flops": "max", "loss": "mean"})
