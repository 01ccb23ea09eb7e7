"""Numbers of the page that are text: the law's parameters, the table of runs, conventions and versions."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from scaling import laws
from scaling.report.data import ReportData
from scaling.report.page import Cell, Column, Section, Table, TableRow
from scaling.report.theme import e_notation, four, is_done, plain, si


def _fixed(digits: int, sign: str = "") -> Callable[[float], str]:
    return lambda value: _minus(f"{value:{sign}.{digits}f}")


def _minus(text: str) -> str:
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


# Column of the table of runs: heading, how its numbers are written (None: text).
RUN_COLUMNS: dict[str, tuple[str, Callable[[float], str] | None]] = {
    "run_id": ("Run", None),
    "stage": ("Stage", None),
    "family": ("Family", None),
    "status": ("Status", None),
    "n_params": ("N", si),
    "n_tokens": ("D", si),
    "flops": ("FLOPs", e_notation),
    "lr": ("Learning rate", lambda rate: f"{rate:.3g}"),
    "loss": ("Loss", _fixed(4)),
    "predicted": ("By the law", _fixed(4)),
    "residual": ("Residual, %", _fixed(2, "+")),
    "bits_per_byte": ("Bits/byte", _fixed(4)),
    "d_model": ("Width", plain),
    "n_layers": ("Layers", plain),
    "batch_tokens": ("Batch", si),
    "epochs": ("Epochs", lambda epochs: f"{epochs:.2g}"),
    "seed": ("Seed", plain),
    "wall_seconds": ("Seconds", _fixed(1)),
}
MOST_ROWS = 2000  # of the table: a page with more is slow to open
ALWAYS = ("n_params", "n_tokens", "flops", "loss")
LETTERS = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ"}
EXPONENTS = {"a": "N* ∝ Cᵃ", "b": "D* ∝ Cᵇ"}
FIT_FACTS = ("law", "approach", "n_points", "dropped", "objective", "delta", "status", "holdout", "notes")
NAMES = {
    "n_params": "parameters N",
    "n_total": "parameters in all",
    "flops": "FLOPs C",
    "n_points": "runs used",
    "dropped": "runs not used",
    "delta": "Huber delta",
    "sha256": "SHA-256",
}


def run_table(runs: pd.DataFrame, has_stages: bool, settings: Sequence[str] = ()) -> Section:
    """All runs; a column that says the same of every run is left out unless it is one of ALWAYS.

    Stages are shown where the table states them; `settings` are further columns, under their own names.
    """
    known = [*RUN_COLUMNS, *(name for name in settings if name not in RUN_COLUMNS)]
    shown = [n for n in known if n in runs and (n in ALWAYS or len(set(runs[n].astype(str))) > 1)]
    if not has_stages:
        shown = [name for name in shown if name != "stage"]
    headings = {name: (name, _form(runs, name)) for name in shown} | RUN_COLUMNS
    columns = [Column(headings[name][0], text=headings[name][1] is None) for name in shown]
    rows = []
    for run in runs.head(MOST_ROWS).to_dict("records"):
        cells = [_cell(name, run[name], run["status"], headings[name][1]) for name in shown]
        rows.append(TableRow(cells, _mark(run)))
    lost = " Diverged runs have no loss and no part in any fit." if not is_done(runs).all() else ""
    first = f" The first {MOST_ROWS:,} of {len(runs):,} rows." if len(runs) > MOST_ROWS else ""
    text = f"Click a heading to sort.{first}{lost} N: parameters; D: training tokens; loss in nats per token."
    return Section("runs", "Runs", text, tables=[Table("Runs", columns, rows, filter=True)])


def _form(runs: pd.DataFrame, name: str) -> Callable[[float], str] | None:
    """How a setting is written: None for text, and for true and false."""
    kind = runs.dtypes[name]
    is_number = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
    return four if is_number else None


def _mark(run: dict[str, Any]) -> str:
    return "lost" if run["status"] != "done" else "star" if run["stage"] == "verify" else ""


def _cell(name: str, value: Any, status: str, form: Callable[[float], str] | None) -> Cell:
    if form is None:
        return Cell("–" if pd.isna(value) else str(value), None, f"text {name.replace('.', '-')}")
    if name == "loss" and status != "done":
        return Cell(status, None, name)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return Cell("–", None, name)
    return Cell(form(value), float(value), name)


def law_tables(data: ReportData) -> list[Table]:
    """Parameters of the law and exponents of its frontier, with their intervals."""
    assert data.fit is not None
    fit = data.fit.to_json()
    params = [
        _estimate(LETTERS.get(n, str(n)), value, fit["ci"].get(n)) for n, value in fit["params"].items()
    ]
    exponents = []
    for found, words in ((fit["frontier"], ""), (fit["isoflop"] or {}, ", by profile minima")):
        for name in [name for name in EXPONENTS if name in found]:
            exponents.append(_estimate(EXPONENTS[name] + words, found[name], found["ci"].get(name)))
    heads = [Column("Value"), Column(f"{fit['ci']['level']:.0%} from"), Column("to")]
    found = [
        Table("Parameters", [Column("Parameter", text=True), *heads], params),
        Table("Frontier", [Column("Exponent", text=True), *heads], exponents),
    ]
    return [table for table in found if table.rows]


def _estimate(name: str, value: float, interval: list[float] | None) -> TableRow:
    ends = [_value(end) for end in interval] if interval else [Cell("–"), Cell("–")]
    return TableRow([Cell(name, None, "text"), _value(value), *ends])


def _value(value: float) -> Cell:
    return Cell(_minus(four(value)), value)


def formula(data: ReportData) -> Markup:
    """The law as HTML: Greek letters, exponents raised."""
    assert data.fit is not None
    text = f"L = {laws.find(data.fit.law).formula}"
    for name, letter in LETTERS.items():
        text = text.replace(name, letter)
    return raised(text)


def raised(text: str) -> Markup:
    """A formula as HTML, what follows ^ as exponents."""
    return Markup(re.sub(r"\^([−-]?[\w.]*\w)", r"<sup>\1</sup>", _minus(str(escape(text)))))


def law_source(data: ReportData) -> str:
    """Where the law comes from, what its letters are, and what its parameters are good for."""
    assert data.fit is not None
    text = "L is the loss, N the parameters, D the training tokens; the form is that of "
    text += f"{laws.find(data.fit.law).source}. "
    text += "The numbers below are a plain fit of it, to compare with published ones. Forecasts here use "
    if data.fit.forecast.law != data.fit.law:
        text += f"its relaxed form “{data.fit.forecast.law}”: its frontier and profiles bend more freely."
    else:
        text += "the same form with a weak prior on E and the exponents."
    if data.fit.forms:
        text += " Losses are predicted by it and other forms, weighed by what each says of runs held out."
    if data.fit.status != "converged":
        text += f" {data.fit.status}."
    return text


def about(data: ReportData) -> Section:
    """Conventions, data, fit and versions: what somebody needs to compare these numbers with others."""
    conventions = dict(data.runs.conventions)
    conventions.pop("ladder", None)  # hundreds of numbers
    corpus = conventions.pop("data", {})
    fit = data.fit.to_json() if data.fit else {}
    study = {name: data.study.get(name) for name in ("name", "overrides", "seed")}
    table = {"file": "" if data.study else data.source, "notes": list(data.runs.notes)}
    table |= {"rows left out": data.runs.dropped} if data.runs.dropped else {}
    versions = [(name, str(version)) for name, version in data.versions.items()]
    facts = {
        "Conventions": _lines(conventions),
        "Data": _lines(corpus if isinstance(corpus, dict) else {"data": corpus}),
        "Fit": _lines({name: fit.get(name) for name in FIT_FACTS}),
        "Table": _lines(table),
        "Study": _lines(study),
        "Made with": _lines({"device": data.device}) + versions,
    }
    filled = {title: lines for title, lines in facts.items() if lines}
    return Section("about", "Conventions, data, versions", facts=filled)


def _lines(values: dict[str, Any], lead: str = "") -> list[tuple[str, str]]:
    """Nested values as lines of name and text: a dict of plain values is one line, what is empty is none."""
    lines = []
    for name, value in values.items():
        title = f"{lead}{_words(name)}"
        if isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values()):
            lines += _lines(value, f"{title}: ")
        elif isinstance(value, dict) and value:
            lines.append((title, ", ".join(f"{_words(n)} {_text(v)}" for n, v in value.items())))
        elif value not in (None, "", [], (), {}):
            lines.append((title, _text(value)))
    return [(title[:1].upper() + title[1:], text) for title, text in lines]


def _words(name: str) -> str:
    return NAMES.get(name, str(name).removeprefix("n_").replace("_", " "))


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "; ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return f"{value[:16]}…"  # whole in runs.json; enough to compare by eye
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
