"""Builds the sections of the page in order: which figures, and what their captions point out.

A section whose data are missing is None and left out.
"""

import numpy as np
import pandas as pd

from scaling.outlook.projection import project
from scaling.prediction.collapse import Collapse
from scaling.prediction.run_curves import RunCurve
from scaling.prediction.training_band import TrainingBand
from scaling.report import charts, tables
from scaling.report.data import ReportData
from scaling.report.page import Figure, PageHead, Section, Snippet
from scaling.report.sections import (
    bottlenecks,
    comparison,
    emergence,
    families,
    findings,
    hyperparameters,
    missing,
    numbers,
    post_training,
    tasks,
)
from scaling.report.sections.calculator import grid
from scaling.report.sections.headline import head
from scaling.report.sections.snippet import appendix
from scaling.report.theme import is_done, of_stage, si, thinned
from scaling.table.runs import TUNING, post_trained

MOST = 2000  # points of a figure
BAND_LEVEL = 0.9  # of the interval at each moment of a run
LARGE = 1e18  # FLOPs; a law of smaller runs is no evidence about the largest


def build(data: ReportData, with_forecast: bool = False) -> tuple[PageHead, list[Section]]:
    """The whole page; the outlook on bottlenecks only where it is asked for."""
    runs = tables.runs(data)
    law = runs.loc[is_done(runs) & ~of_stage(runs, *TUNING) & ~post_trained(runs)]
    frontier = tables.frontier(data, law)
    profiles = tables.profiles(data, law)
    made = [
        missing.section(data.missing) if data.missing else None,
        findings.section(data),
        families.section(data, law),
        *emergence.sections(data),
        _frontier(data, law, frontier, profiles),
        _calculator(data, law),
        _isoflop(data, frontier, profiles),
        _learning_rate(data, runs),
        _curves(data),
        post_training.section(data),
        tasks.section(data),
        _law(data, law, frontier),
        comparison.section(data),
        _bottlenecks(data, law) if with_forecast else None,
        numbers.run_table(runs, "stage" in data.law_runs.table, data.settings),
        _appendix(data),
        numbers.about(data),
    ]
    return head(data, runs, law, frontier), [section for section in made if section]


def _convention(data: ReportData, name: str, lead: str) -> str:
    """The convention as a sentence, where the runs state it."""
    stated = data.runs.conventions.get(name)
    return f" {lead} {stated}." if isinstance(stated, str) else ""


def _level(data: ReportData) -> str:
    return f"{data.fit.to_json()['ci']['level']:.0%}" if data.fit else ""


def _frontier(
    data: ReportData, law: pd.DataFrame, frontier: pd.DataFrame, profiles: tables.DrawnProfiles | None
) -> Section | None:
    if frontier.empty:
        return None
    forecast = tables.forecast(data)
    star = ""
    if data.verify:
        star = " The star is the verification run, the bar through it what was predicted before it trained."
    loss = Figure(
        "frontier",
        "Loss of the best model for a given compute",
        f"Line: the law's compute-optimal loss; band: {_level(data)} interval for the measured loss of one "
        f"new run; points: the runs.{star}"
        + _convention(data, "flops", "FLOPs:")
        + _convention(data, "loss", "Loss:"),
        charts.frontier_loss(thinned(law, MOST), frontier, forecast),
    )
    minima = " Diamonds: minima of the IsoFLOP profiles, an independent estimate." if profiles else ""
    sizes = Figure(
        "frontier_params",
        "How large the best model is",
        f"Line and band: compute-optimal N* by the law, {_level(data)} interval of its parameters."
        f"{minima}{_convention(data, 'n_params', 'N:')}",
        charts.frontier_params(frontier, tables.optima(law, profiles)),
    )
    seen = "The law has seen all of these runs."
    if data.verify:
        seen = "The star was predicted without having been seen; the bar is its interval."
    match = Figure(
        "predicted",
        "Predicted against measured",
        f"On the diagonal the law is exact. {seen}",
        charts.predicted_measured(thinned(law, MOST), forecast),
    )
    return Section("frontier", "The frontier", figures=[loss, sizes, match])


def _calculator(data: ReportData, law: pd.DataFrame) -> Section | None:
    table = grid(data, law)
    if not table:
        return None
    advice = " Learning rate and batch, as far as they were swept: their laws." if data.lr else ""
    text = (
        "Give a budget, a size or an amount of data: the other two are chosen for the lowest loss. Give two, "
        f"and the third follows. Intervals: {table['level']:.0%}; of the loss, for one new run.{advice} "
        "Hours, money and energy are of this one run, at the machine's share of its peak (MFU) and with the "
        f"building's power (PUE {table['pue']:g}). From {table['reach'][0]} to {table['reach'][1]} FLOPs."
    )
    return Section("calculator", "Calculator", text, calculator=table)


def _isoflop(
    data: ReportData, frontier: pd.DataFrame, profiles: tables.DrawnProfiles | None
) -> Section | None:
    if profiles is None:
        return None
    minima, n_edge = profiles.minima, int(profiles.minima["at_edge"].to_numpy().sum())
    flagged = "Every minimum lies inside its profile."
    if n_edge:
        flagged = (
            f"Triangles: {n_edge} of {len(minima)} minima lie at the edge of their profile, bounds only."
        )
    dotted = " Dotted: the frontier of the fitted law." if len(frontier) else ""
    figure = Figure(
        "isoflop",
        "Loss against model size at fixed compute",
        "Left of a minimum the model is too small, right of it there are too few tokens. Each curve is a "
        "parabola in log N, with six sizes and more a cubic, the open mark its minimum."
        f" {flagged}{dotted} Click a budget in the legend to single it out.",
        charts.isoflop(profiles.runs, profiles.curves, minima, frontier),
    )
    return Section("isoflop", "IsoFLOP profiles", figures=[figure])


def _learning_rate(data: ReportData, runs: pd.DataFrame) -> Section | None:
    if data.lr and data.lr.axes != ("lr",):
        return hyperparameters.section(data.lr)
    rates = tables.learning_rates(data, runs)
    if rates is None:
        return None
    lost = " Crosses along the top diverged." if not is_done(rates.runs).all() else ""
    edge = (
        " Triangles lie at the edge of the sweep and are only bounds."
        if rates.optima["at_edge"].to_numpy().any()
        else ""
    )
    sweep = Figure(
        "lr_sweep",
        "Loss against learning rate",
        "Curves: for each size a cubic in the log of the rate, good near its minimum; open marks: minima "
        f"with {rates.level:.0%} intervals.{edge}{lost}",
        charts.lr_sweep(rates.runs, rates.curves, rates.optima),
    )
    given = runs.loc[~of_stage(runs, *TUNING) & ~post_trained(runs) & runs["lr"].notna().to_numpy()]
    law = Figure(
        "lr_law",
        "The best rate as a function of size",
        f"Line and band: the fitted law, {rates.formula}; open marks: the optima it was fitted to; the "
        f"others: {'the rates given to later runs' if data.study else 'the best rates tried'}. Right of the "
        "last open mark the law is extrapolated.",
        charts.lr_law(given, rates.law, rates.optima),
    )
    return Section("learning-rate", "Learning rate", figures=[sweep, law])


def _curves(data: ReportData) -> Section | None:
    if data.curves.empty:
        return None
    curves = data.curves.assign(size=[si(n) for n in data.curves["n_params"]])
    shown = Figure(
        "curves",
        "Training loss on the way",
        "Each line is a run: small models lead early and are overtaken. Loss in nats per token, averaged "
        "over windows of equal ratio of compute; the first 1% of each run is left out. Point at a line to "
        "see which run it is.",
        charts.loss_curves(curves),
    )
    figures = [shown, _collapse(data.collapse), *(each for run in data.bands for each in _bands(*run))]
    return Section("curves", "Loss curves", figures=[figure for figure in figures if figure])


def _collapse(found: Collapse | None) -> Figure | None:
    if found is None:
        return None
    wrong = " ".join(f"{line[0].upper()}{line[1:]}." for line in found.lines())
    return Figure(
        "collapse",
        "Do the curves collapse?",
        "Each line is a finished run of the recipe that has most, of equal size and length the best: its "
        "loss over its own final loss. Of a sound recipe they are nearly one curve and change smoothly with "
        "size and length (Qiu et al. 2025, arXiv 2507.02119); one that goes its own way was made by another "
        "recipe, with a learning rate that is wrong at its size for instance, and is red. "
        + (wrong or f"All of the {len(found.runs)} do, so far as can be told."),
        charts.collapse(tables.collapse(found)),
    )


def _bands(curve: RunCurve, band: TrainingBand) -> list[Figure]:
    """The loss of a run in its band, and the norm of its gradient."""
    warning = band.warning(curve)
    said = f"It has left its band: {warning}." if warning else "It is inside, as far as it has come."
    rows = pd.DataFrame(band.table(curve, BAND_LEVEL))
    short = curve.run_id[:6]
    return [
        Figure(
            f"band_{curve.run_id}_{quantity.replace(' ', '_')}",
            f"Run {short} in its band: {quantity}",
            f"Line: the run of N = {si(curve.n_params)} and D = {si(curve.n_tokens)}. Band: where the curves "
            f"of {band.n_runs} finished runs put it, with the final loss predicted before it trained, "
            f"if one was; {BAND_LEVEL:.0%} interval at each moment. {said}",
            charts.training_band(of_one, f"{quantity[0].upper()}{quantity[1:]}"),
        )
        for quantity in dict.fromkeys(rows["quantity"].astype(str))
        for of_one in [rows.loc[rows["quantity"] == quantity]]
    ]


def _law(data: ReportData, law: pd.DataFrame, frontier: pd.DataFrame) -> Section | None:
    if data.fit is None:
        return None
    figures = [_residuals(data, law, frontier)] if len(frontier) else []
    source, formula = numbers.law_source(data), numbers.formula(data)
    return Section("law", "The law", source, formula, figures, numbers.law_tables(data))


def _residuals(data: ReportData, law: pd.DataFrame, frontier: pd.DataFrame) -> Figure:
    residual = law["residual"].to_numpy()[~of_stage(law, "verify")]
    spread, limit = np.sqrt(np.mean(residual**2)), charts.reach(law["residual"])
    n_beyond = int((law["residual"].abs() > limit).to_numpy().sum())
    beyond = f" Drawn at the edge: {n_beyond} further off." if n_beyond else ""
    return Figure(
        "residuals",
        "What the law leaves over",
        f"Each run's loss against the law, in %; root mean square of the fitted runs: {spread:.2g}%. Band: "
        f"{_level(data)} interval for a new run on the frontier. A slope or a bend would be the law's fault."
        f"{beyond}",
        charts.residuals(thinned(law.assign(edge=law["residual"].clip(-limit, limit)), MOST), frontier),
    )


def _bottlenecks(data: ReportData, law: pd.DataFrame) -> Section:
    """By the law's frontier, if its runs are large enough to be evidence about the largest there are."""
    applies = (
        data.fit is not None and tables.splits_budgets(data.fit) and law["flops"].to_numpy().max() > LARGE
    )
    return bottlenecks.section(project(data.fit if applies else None))


def _appendix(data: ReportData) -> Section | None:
    made = appendix(data)
    if made is None:
        return None
    text = (
        "The fit, its conventions and how it was made, ready to paste; after the reporting checklist of "
        "“(Mis)Fitting: A Survey of Scaling Laws” (Li et al. 2025, arXiv 2502.18969)."
    )
    snippets = [
        Snippet("LaTeX", "appendix.tex", made.latex),
        Snippet("Markdown", "appendix.md", made.markdown),
    ]
    return Section("appendix", "For an appendix", text, snippets=snippets)
