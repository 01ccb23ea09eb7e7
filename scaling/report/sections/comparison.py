"""The section that asks which law predicts larger runs best, and shows the error of each."""

from dataclasses import replace
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

import scaling
from scaling import laws
from scaling.prediction.law_comparison import LawComparison, compare_laws, fit_forecast
from scaling.report import tables
from scaling.report.charts import chart, reach
from scaling.report.data import ReportData
from scaling.report.page import Cell, Column, Figure, Section, Table, TableRow
from scaling.report.sections.families import COLOURS
from scaling.report.theme import INK, VERIFY, finish, plain, si, signed, thinned, tips, x, y
from scaling.table.cell_values import is_given

MOST = 300  # runs drawn of one law
MOST_ROWS = 2000  # of a table that is compared on; more tell no more of the laws
OFF = "Predicted against measured, %"
RATIO = "Compute over the largest fitted run's, ×"
HEADS = ("Held-out runs", "Median error, %", "Bias, %", "Inside interval, %", "Half interval, %", "Score",
         "Weight")  # fmt: skip
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down")


def section(data: ReportData) -> Section | None:
    """Nothing where the runs are too few to hold some back, belong to several families, or were all
    post-trained: the laws are of pretraining's loss."""
    table = data.law_runs.table
    if data.fit is None or ("objective" in table and is_given(table["objective"]).all()):
        return None
    try:
        rows = thinned(table, MOST_ROWS).reset_index(drop=True)
        found = compare_laws(replace(data.law_runs, table=rows), level=data.fit.level, relax=data.fit.relaxed)
    except ValueError:
        return None
    held_out = found.held_out.assign(
        ratio=found.held_out["flops"] / found.held_out["cut"],
        **{name: 100 * (found.held_out[name] / found.held_out["loss"] - 1) for name in ("lo", "hi")},
        error=100 * found.held_out["error"],
    )
    limit = reach(held_out["error"])
    held_out["edge"] = np.clip(held_out["error"], -limit, limit)
    held_out["inside"] = np.where((held_out["lo"] <= 0) & (held_out["hi"] >= 0), "holds it", "misses it")
    best, level = found.candidates[0].law, f"{data.fit.level:.0%}"
    names = [candidate.law for candidate in found.candidates]
    beyond = ""
    if (held_out["error"].abs().to_numpy() > limit).any():
        beyond = " Errors beyond the axis are drawn at its edge."
    errors = Figure(
        "laws_errors",
        "How far each law was off on runs it had not seen",
        "Each law was fitted to the runs below a budget and predicted those above it, at "
        f"{held_out['cut'].nunique()} budgets. 0 is right; above it, too high a loss was predicted.{beyond}",
        _errors(thinned(held_out, MOST * len(names)), names, limit),
    )
    intervals = Figure(
        "laws_intervals",
        f"Whether the intervals of {best} hold the measured loss",
        f"Bars: {level} interval for each held-out run, relative to its measured loss; below them, how many "
        f"times the compute it has. {level} of them should cross 0; {found.candidates[0].coverage:.0%} do.",
        _intervals(thinned(held_out.loc[held_out["law"] == best], MOST)),
    )
    return Section(
        "laws", "Which law", _text(found, data), figures=[errors, intervals], tables=[_table(found)]
    )


def _text(found: LawComparison, data: ReportData) -> str:
    """The verdict, and what it has to do with the law that the page predicts with."""
    assert data.fit is not None
    own, names = data.fit.law, [candidate.law for candidate in found.candidates]
    text = (
        f"{found.verdict} Score: mean log density of the measured loss under the forecast, higher is better. "
        "Weight: how often a law comes out ahead when the held-out runs are resampled."
    )
    if own not in names or own == names[0]:
        return f"{text} The predictions of this page are by {own}."
    before = found.candidates[: names.index(own)]
    uses = "; ".join(f"{each.law}, for {use}" for each in before if (use := laws.find(each.law).use))
    return (
        f"{text} The predictions of this page are by {own}, as it was chosen beforehand, though it weighs "
        f"{found.candidates[names.index(own)].weight:.0%} here: this table is about runs within the table, a "
        f"few times larger than those fitted, and not about the way ahead. Before it came {uses}."
        f"{_ahead(names[0], data)}"
    )


def _ahead(other: str, data: ReportData) -> str:
    """What the law that came first says of the run in the headline."""
    assert data.fit is not None
    law = laws.find(other)
    table = data.law_runs.usable(law.target, law.columns).table
    if not tables.splits_budgets(data.fit) or set(law.columns) != {"n_params", "n_tokens"}:
        return ""
    best = scaling.frontier(data.fit, tables.AHEAD * table["flops"].to_numpy().max())
    at = data.verify or {"n_params": best.n_params, "n_tokens": best.n_tokens, "predicted": best.loss}
    form, known = fit_forecast(law, table, relax=data.fit.relaxed)
    x = {name: np.array([float(at[name])]) for name in form.columns}
    expected = known.predict(form, x, data.fit.level)[0][0]
    return (
        f" Of the run in the headline {other} expects {expected:.3f}, {data.fit.law} {at['predicted']:.3f}."
    )


def _errors(held_out: pd.DataFrame, laws: list[str], limit: float) -> dict[str, Any]:
    """Error in per cent against the ratio of compute, by law."""
    across = x("ratio", RATIO, held_out["ratio"], label=plain)
    up = y("edge", OFF, [-limit, limit], log=False, pad=0.06, label=signed)
    legend = alt.Legend(title="Law", symbolOpacity=1)
    colours = alt.Scale(domain=laws, range=[COLOURS[i % len(COLOURS)] for i in range(len(laws))])
    shapes = alt.Scale(domain=laws, range=[SHAPES[i % len(SHAPES)] for i in range(len(laws))])
    colour = alt.Color("law:N", scale=colours, legend=legend)
    shape = alt.Shape("law:N", scale=shapes, legend=legend)
    points = chart("runs").mark_point(filled=True, size=26, opacity=0.6)
    layers = [
        chart("zero").mark_rule(stroke="var(--line)", strokeWidth=1.5).encode(y=up),
        points.encode(x=across, y=up, color=colour, shape=shape, tooltip=_tips(held_out)),
    ]
    return finish(layers, {"runs": held_out, "zero": pd.DataFrame({"edge": [0.0]})})


def _intervals(held_out: pd.DataFrame) -> dict[str, Any]:
    """The forecast's interval of each held-out run in per cent of what was measured, nearest runs first."""
    held_out = held_out.sort_values(["ratio", "error"]).assign(rank=np.arange(len(held_out)))
    ratios = held_out["ratio"].to_numpy()
    limit = reach([*held_out["lo"], *held_out["hi"]])
    far = lambda rank: f"{ratios[int(rank)]:.2g}×"  # noqa: E731
    title = "Held-out runs, cheapest first"
    across = x("rank", title, held_out["rank"], log=False, pad=0.02, label=far)
    up = y("edge", OFF, [-limit, limit], log=False, pad=0.06, label=signed)
    kinds = ["holds it", "misses it"]
    colour = alt.Color(
        "inside:N",
        scale=alt.Scale(domain=kinds, range=[INK, VERIFY]),
        legend=alt.Legend(title="Interval", symbolType="stroke", symbolStrokeWidth=3),
    )
    bars = chart("runs").mark_rule(strokeWidth=1.4, opacity=0.65, clip=True)
    between = {"y": alt.Y("lo:Q", scale=up["scale"]), "y2": "hi:Q"}
    layers = [
        chart("zero").mark_rule(stroke="var(--line)", strokeWidth=1.5).encode(y=up),
        bars.encode(x=across, color=colour, tooltip=_tips(held_out), **between),
    ]
    return finish(layers, {"runs": held_out, "zero": pd.DataFrame({"edge": [0.0]})})


def _tips(held_out: pd.DataFrame) -> list[alt.Tooltip]:
    return tips(held_out, "law", "n_params", "n_tokens", "flops", "loss", "predicted", "error", "ratio")


def _table(found: LawComparison) -> Table:
    rows = []
    for law in found.candidates:
        percent = (law.median_abs_error, law.bias, law.coverage, law.half_width)
        numbers = [(f"{100 * value:.3g}", 100 * value) for value in percent]
        numbers += [(f"{value:.2f}", value) for value in (law.score, law.weight)]
        cells = [Cell(text.replace("-", "−"), value) for text, value in numbers]
        rows.append(TableRow([Cell(law.law, None, "text"), Cell(si(law.n_held_out), law.n_held_out), *cells]))
    return Table("Laws", [Column("Law", text=True), *map(Column, HEADS)], rows)
