"""The report of a study's folder or of a table of runs: reads the files, writes the page and its figures.

A study's own pictures and tables are on it if its `finish` gave them to `write_findings`.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from experiments.files import read_json, write_atomic, write_json
from scaling import laws
from scaling.fitting.fit import cost_of
from scaling.fitting.result import Fit
from scaling.hparams import HparamLaws
from scaling.prediction.collapse import Collapse
from scaling.prediction.run_curves import RunCurve
from scaling.prediction.study_curves import StudyRun, band_of, by_recipe, judge, recipe_of
from scaling.prediction.training_band import TrainingBand
from scaling.report import (
    MissingRuns,
    Picture,
    ReportData,
    data_of_study,
    data_of_table,
    live_page,
    render_report,
)
from scaling.table.cell_values import is_given
from scaling.table.runs import post_trained

CURVE_POINTS = 70  # moments of a curve in the page; more cannot be seen
CONCLUSION = "conclusion.txt"  # what a study's `finish` said
FINDINGS = "findings.json"  # the pictures and tables that it wrote
BANDS = 3  # runs in training whose bands are shown, the largest
CURVE_START = 0.01  # a curve is shown from this fraction of its run on


def write_report(
    source: Path,
    out: Path,
    fit: Path | None = None,
    columns: dict[str, str] | None = None,
    with_forecast: bool = False,
    missing: MissingRuns | None = None,
) -> Path:
    """Writes the page of a study directory or table to `out`, and returns `out`.

    Beside it lie each figure as figures/NAME.png and NAME.pdf and, where there is one law, the fit with its
    conventions as appendix.tex and appendix.md. Beside a page of another name than report.html their names
    begin with its own, as r2-figures/ and r2-appendix.md, and nothing else in its folder is touched.

    Args:
      source: a study directory, or a table of runs (csv, jsonl, parquet).
      out: the page, in a folder that exists.
      fit: a fit.json; without it the directory's own is used, or a law is fitted here.
      columns: our names -> those of a foreign table, as in `scaling.read_runs`.
      with_forecast: adds the forecast of bottlenecks (`scaling.outlook.projection`).
      missing: what of an unfinished study is not there yet: the page says so.

    Raises:
      ValueError: a file is not what it should be, or holds no runs.
      OSError: a file cannot be read or written.
    """
    report = render_report(replace(read_data(Path(source), fit, columns), missing=missing), with_forecast)
    own = "" if out.name == "report.html" else f"{out.stem}-"
    folder = out.parent / f"{own}figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in report.figures.items():
        write_atomic(folder / name, image)
    for name, text in report.snippets.items():
        write_atomic(out.parent / f"{own}{name}", text)
    write_atomic(out, report.html)
    return out


def live_report(
    source: Path, fit: Path | None, missing: MissingRuns, running: pd.DataFrame, version: str
) -> str:
    """The page of a study that runs, with the curves of runs that are not finished.

    Args:
      source: the study's folder; without its runs.csv no run is finished.
      fit: as of `write_report`.
      missing: what is not there yet.
      running: of the runs that train now run_id, stage, n_params, n_tokens, flops and loss.
      version: by which the page tells whether there is a newer one.

    Raises:
      ValueError: a file is not what it should be.
      OSError: a file cannot be read.
    """
    if missing.count("finished"):
        data = read_data(source, fit)
        curves = pd.concat([data.curves, read_curves(source, running)])
        _, bands = read_collapse(source, pd.concat([data.runs.table, running]), [*running["run_id"]])
        data = replace(data, curves=curves, bands=tuple(bands))
    else:
        nothing = scaling.Runs(pd.DataFrame())
        data = ReportData(source.resolve().name, source.name, nothing, nothing, None, "")
    return live_page(replace(data, missing=missing), version)


def read_data(path: Path, fit: Path | None = None, columns: dict[str, str] | None = None) -> ReportData:
    """What a page shows of a study directory or of a table of runs (csv, jsonl, parquet).

    The law is the one in `fit`, else the directory's fit.json, else fitted here (Chinchilla, approach 3).

    Raises:
      ValueError: a file is not what it should be; the message names it.
      OSError: a file cannot be read.
    """
    runs = scaling.read_runs(path, columns)
    folder = path if path.is_dir() else None
    saved = fit or (folder / "fit.json" if folder and (folder / "fit.json").exists() else None)
    law = saved_fit(saved) if saved else None
    if folder is None:
        return data_of_table(runs, path.stem, path.name, law)
    lr, verify, study, about = (
        _read_if_there(folder / f"{name}.json") for name in ("lr", "verify", "study", "runs")
    )
    (pictures, findings), conclusion = read_findings(folder), folder / CONCLUSION
    collapse, bands = read_collapse(folder, runs.table, [verify["run_id"]] if verify else [])
    return data_of_study(
        runs,
        name=study.get("name", path.resolve().name),
        source=path.resolve().name,
        fit=law,
        lr=HparamLaws.from_json(lr) if lr else None,
        verify=verify or None,
        further=saved_fit(folder / "further.json") if (folder / "further.json").exists() else None,
        curves=read_curves(folder, runs.table),
        collapse=collapse,
        bands=tuple(bands),
        emergence=_table_if_there(folder / "emergence.csv"),
        misprints=_table_if_there(folder / "misprints.csv"),
        tasks=read_tasks(folder / "tasks.csv"),
        **read_post_training(folder, runs.table),
        conclusion=conclusion.read_text(encoding="utf-8").strip("\n") if conclusion.exists() else "",
        pictures=pictures,
        findings=findings,
        study=study,
        versions=about.get("versions") or study.get("versions", {}),
        device=str(about.get("device", "")),
        settings=tuple(map(str, about.get("settings", ()))),
    )


def saved_fit(path: Path) -> Fit:
    """The fit in a JSON file; one of before fits knew what a token costs has it from the runs beside it."""
    content = read_json(path)
    fit = Fit.from_json(content)
    if "flops_per_token" not in content and (path.parent / "runs.csv").exists():
        usable = scaling.read_runs(path.parent / "runs.csv").usable()
        return replace(fit, flops_per_token=cost_of(usable, laws.find(fit.law, run_files=False)))
    return fit


def write_findings(
    folder: Path, pictures: Sequence[Picture], tables: Mapping[str, str] | None = None
) -> None:
    """Writes each picture as NAME.png, and findings.json, which lists them with their captions.

    Args:
      folder: of the study.
      pictures: in the order of the page; a name may have a folder in front of it.
      tables: file name of a CSV in the folder -> what it is of.
    """
    for picture in pictures:
        path = folder / f"{picture.name}.png"
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, picture.png)
    listed = [{"name": each.name, "title": each.title, "caption": each.caption} for each in pictures]
    write_json(folder / FINDINGS, {"pictures": listed, "tables": dict(tables or {})})


def read_findings(folder: Path) -> tuple[list[Picture], dict[str, pd.DataFrame]]:
    """The pictures and the tables by title; a file that is no longer there is left out.

    Raises:
      ValueError: findings.json is not what `write_findings` writes, or names a file outside the folder.
    """
    if not (folder / FINDINGS).exists():
        return [], {}
    listed = read_json(folder / FINDINGS)
    try:
        pictures = [
            Picture(**{name: str(each[name]) for name in ("name", "title", "caption")}, png=path.read_bytes())
            for each in listed["pictures"]
            if (path := _inside(folder, f"{each['name']}.png")).exists()
        ]
        tables = {
            str(title): pd.read_csv(path)
            for name, title in listed["tables"].items()
            if (path := _inside(folder, name)).exists()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder / FINDINGS}: {error!r}; expected pictures with name, title and caption, and tables"
        ) from None
    return pictures, tables


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{folder / FINDINGS}: {name!r} is outside the study's folder")
    return path


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _table_if_there(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def read_curves(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Training loss of every run with a metrics.jsonl, averaged in windows of equal ratio of FLOPs; of those
    that were post-trained none, as it is of another kind.

    Columns: flops, loss, and of the run: run_id, stage, n_params, n_tokens, final (its validation loss at the
    end). The first 1 % of each run is left out.
    """
    curves = []
    for run in table.loc[~post_trained(table)].to_dict("records"):
        path = folder / "runs" / str(run["run_id"]) / "metrics.jsonl"
        if path.exists():
            about = {name: run[name] for name in ("run_id", "n_params", "n_tokens")}
            about |= {"stage": run.get("stage", "run"), "final": run["loss"]}
            curves.append(_thin(_train_events(path, CURVE_START * run["flops"])).assign(**about))
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()


def read_collapse(
    folder: Path, table: pd.DataFrame, banded: Sequence[str]
) -> tuple[Collapse | None, list[tuple[RunCurve, TrainingBand]]]:
    """Whether the curves of the recipe that has most runs collapse; and some runs in their bands.

    Args:
      folder: the study's; it has runs/<run_id>/config.json and metrics.jsonl.
      table: runs, finished or (without a loss) not.
      banded: ids of those whose bands are wanted, by the finished runs that are not larger; of three at most.
    """
    runs = []
    for row in table.to_dict("records"):
        config = folder / "runs" / str(row["run_id"]) / "config.json"
        if config.exists() and row.get("status", "done") != "diverged":
            at = (float(row["n_params"]), float(row["n_tokens"]))
            runs.append(StudyRun(str(row["run_id"]), read_json(config), *at, float(row["loss"])))
    recipes = by_recipe(runs)
    finished = {key: [run for run in of if np.isfinite(run.loss)] for key, of in recipes.items()}
    most = max(finished.values(), key=len, default=[])
    found = []
    for run in [run for of in recipes.values() for run in of if run.run_id in banded][-BANDS:]:
        size = run.n_params * run.n_tokens
        others = [other for other in finished[recipe_of(run.config)] if other.run_id != run.run_id]
        band = band_of(folder, run, [other for other in others if other.n_params * other.n_tokens <= size])
        found += [band] if band else []
    return judge(folder, most), found


def training_curves(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The training-loss curves of a study's runs, as they were recorded while training.

    Args:
      folder: the study's; it has runs/<run_id>/metrics.jsonl.
      table: its runs; their columns are repeated in every row, apart from those of the moment:
        step, n_tokens, flops, loss (training loss, mean since the row before) and lr.
    """
    curves = []
    for run in table.to_dict("records"):
        path = folder / "runs" / str(run["run_id"]) / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []  # a cut last line
        events = [event for line in lines if "train_loss" in (event := json.loads(line))]
        names = {"tokens": "n_tokens", "train_loss": "loss"}
        moments = pd.DataFrame(events).rename(columns=names)
        here = [c for c in ("step", "n_tokens", "flops", "loss", "lr") if c in moments]
        curves.append(moments[here].assign(**{k: v for k, v in run.items() if k not in here}))
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()


def read_post_training(folder: Path, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What runs with an objective of their own measured over training, and what the last of them said.

    "post_training" has columns run_id, stage, objective, n_params, n_tokens (so far), name and measured;
    "texts" run_id, step, prompt and response.
    """
    numbers, texts = [], []
    runs = table.loc[is_given(table["objective"])] if "objective" in table else table.iloc[:0]
    for run in runs.to_dict("records"):
        about = {name: run.get(name) for name in ("run_id", "stage", "objective", "n_params")}
        said = []
        lines = _lines(folder / "runs" / str(run["run_id"]) / "metrics.jsonl")
        for shown in _means(lines, CURVE_POINTS):
            at = about | {"n_tokens": shown.get("tokens", 0)}
            numbers += [at | {"name": name, "measured": value} for name, value in shown.items()]
        for line in lines:
            said += [
                {"run_id": run["run_id"], "step": line["step"], **text} for text in line.get("texts", ())
            ]
        texts = said or texts
    return {"post_training": pd.DataFrame(numbers), "texts": pd.DataFrame(texts)}


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
    losses = [
        (line["flops"], line["train_loss"]) for line in _lines(path) if line.get("train_loss") is not None
    ]
    table = pd.DataFrame(losses, columns=["flops", "loss"], dtype=float)
    return table.loc[np.isfinite(table["loss"].to_numpy()) & (table["flops"].to_numpy() >= start)]


def _lines(path: Path) -> list[dict[str, Any]]:
    """The events of a run, none if there is no file; a half-written last line is skipped."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]


def _means(lines: list[dict[str, Any]], most: int) -> list[dict[str, float]]:
    """The numbers of at most so many groups of lines that follow each other, as means."""
    n, means = max(1, -(-len(lines) // most)), []
    for i in range(0, len(lines), n):
        found: dict[str, list[float]] = {}
        for name, value in (item for line in lines[i : i + n] for item in line.items()):
            if isinstance(value, (int, float)):
                found.setdefault(name, []).append(value)
        means.append({name: sum(values) / len(values) for name, values in found.items()})
    return means


def _thin(events: pd.DataFrame) -> pd.DataFrame:
    """At most CURVE_POINTS rows: means over windows of equal width in log FLOPs (the last moment is kept)."""
    if len(events) <= CURVE_POINTS:
        return events
    log = np.log(events["flops"].to_numpy())
    window = np.ceil((log - log.min()) / (log.max() - log.min()) * (CURVE_POINTS - 1))
    return events.groupby(window).agg({"flops": "max", "loss": "mean"})
