"""The section that sets families of models side by side: frontiers, sizes, and what compute is worth."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scaling.optimum.families import Comparison
from scaling.report.charts import COMPUTE, LOSS, chart
from scaling.report.data import ReportData
from scaling.report.page import Cell, Column, Figure, Section, Table, TableRow
from scaling.report.theme import e_notation, finish, plain, sci, si, tips, x, y

COLOURS = ("var(--accent)", "var(--verify)", "var(--ramp-4)", "var(--ink)", "var(--ramp-8)", "var(--ramp-1)")


def section(data: ReportData, law: pd.DataFrame) -> Section | None:
    """Nothing where the runs are of one family."""
    if data.families is None:
        return None
    found, level = data.families, f"{next(iter(data.families.fits.values())).level:.0%}"
    runs = law.assign(n_params=law["n_active"] if "n_active" in law else law["n_params"])
    frontier = Figure(
        "families_frontier",
        "Loss of each family's best model for a given compute",
        f"Lines: compute-optimal loss by each family's own law; bands: {level} interval for the measured "
        "loss of one new run; points: the runs.",
        _loss_chart(found.frontiers, runs, "flops", COMPUTE, e_notation),
    )
    worth = Figure(
        "families_worth",
        f"How much compute a family is worth, in {found.reference}s",
        f"At 2, a {found.reference} needs twice the compute for the same loss. Bands: {level} interval of "
        "the laws' parameters. Where a band holds 1, the runs cannot tell the two apart.",
        _worth_chart(found.frontiers),
    )
    sizes = Figure(
        "families_sizes",
        "Loss at equal active parameters",
        f"Each family's law at {si(found.n_tokens)} tokens, bands: {level} interval for one new run. What a "
        "token is not multiplied with, experts it does not go to, is not counted.",
        _loss_chart(found.sizes, runs.iloc[:0], "n_params", "Active parameters", si),
    )
    size = Figure(
        "families_params",
        "How large the best model of each family is",
        f"Compute-optimal active parameters; bands: {level} interval of the laws' parameters.",
        _size_chart(found.frontiers),
    )
    text = (
        f"One law a family, L = E + A/N^α + B/D^β with N the active parameters; measured by the "
        f"{found.reference}."
    )
    return Section(
        "families", "Families", text, figures=[frontier, worth, sizes, size], tables=[_table(found)]
    )


def _loss_chart(lines: pd.DataFrame, runs: pd.DataFrame, field: str, title: str, label) -> dict[str, Any]:
    """Loss against `field`, and the runs as points."""
    across = x(field, title, [*lines[field], *runs[field]], label=label, pad=0)
    up = y("loss", LOSS, [*lines["lo"], *lines["hi"], *runs["loss"]], label=plain)
    return _bands(lines, across, up, "lo", "hi", runs, height=440 if len(runs) else 340)


def _worth_chart(frontiers: pd.DataFrame) -> dict[str, Any]:
    """Compute that the reference needs for the same loss, as a multiple."""
    values = np.clip([*frontiers["worth_lo"], *frontiers["worth_hi"], 1], 0.1, 10)
    across = x("flops", COMPUTE, frontiers["flops"], label=e_notation, pad=0)
    up = y("worth", "Worth in compute of the reference, ×", values, label=plain)
    return _bands(frontiers, across, up, "worth_lo", "worth_hi")


def _size_chart(frontiers: pd.DataFrame) -> dict[str, Any]:
    """Compute-optimal active parameters against compute."""
    best = frontiers["n_params"].to_numpy()
    ends = np.clip([*frontiers["n_lo"], *frontiers["n_hi"]], best.min() / 3, best.max() * 3)
    across = x("flops", COMPUTE, frontiers["flops"], label=e_notation, pad=0)
    up = y("n_params", "Compute-optimal active parameters", [*best, *ends], pad=0)
    return _bands(frontiers, across, up, "n_lo", "n_hi")


def _bands(
    lines: pd.DataFrame,
    across: alt.X,
    up: alt.Y,
    lo: str,
    hi: str,
    runs: pd.DataFrame | None = None,
    height: int = 340,
) -> dict[str, Any]:
    """A line in a band for each family, and the runs, if any, as points."""
    names = list(dict.fromkeys(lines["family"]))
    colour = alt.Color(
        "family:N",
        scale=alt.Scale(domain=names, range=list(COLOURS[: len(names)])),
        legend=alt.Legend(title="Family", symbolType="circle", symbolOpacity=1),
    )
    points = pd.DataFrame() if runs is None else runs
    layers = [
        chart("lines", "band")
        .mark_area(fillOpacity=0.12, clip=True)
        .encode(x=across, y=alt.Y(f"{lo}:Q", scale=up["scale"]), y2=f"{hi}:Q", color=colour),
        chart("lines").mark_line(strokeWidth=2, clip=True).encode(x=across, y=up, color=colour),
        chart("runs")
        .mark_point(filled=True, size=30, opacity=0.7)
        .encode(x=across, y=up, color=colour, tooltip=tips(points, "run_id", "n_params", "flops", "loss")),
    ]
    return finish(layers, {"lines": lines, "runs": points}, height=height)


def _table(found: Comparison) -> Table:
    """The laws, and each family at the largest compute drawn."""
    heads = ("E", "A", "B", "α", "β", "a in N* ~ C^a", "N* active", "loss", "worth, ×")
    rows = []
    for name, fit in found.fits.items():
        last = found.frontiers[found.frontiers["family"] == name].iloc[-1]
        worth = f"{last['worth']:.2f} ({last['worth_lo']:.2f} to {last['worth_hi']:.2f})"
        numbers = [f"{fit.params[p]:.4g}" for p in ("E", "A", "B", "alpha", "beta")]
        ends = f"{last['loss']:.3f} ± {(last['hi'] - last['lo']) / 2:.3f}"
        texts = [*numbers, f"{fit.exponents['a']:.3f}", si(last["n_params"]), ends, worth]
        rows.append(TableRow([Cell(name, None, "text"), *(Cell(text) for text in texts)]))
    flops = float(np.max(found.frontiers["flops"].to_numpy()))
    return Table(
        f"The laws, and the best models at {sci(flops)} FLOPs",
        [Column("Family", text=True), *map(Column, heads)],
        rows,
    )


def headline(found: Comparison) -> list[tuple[str, bool]]:
    """What each family is worth at the largest compute, in one sentence."""
    last = found.frontiers.groupby("family", sort=False).last().drop(found.reference)
    worth = [
        f"{row.worth:.2f} ({row.worth_lo:.2f} to {row.worth_hi:.2f}) times the compute of {name}"
        for name, row in last.iterrows()
    ]
    return [(f"For the same loss, {found.reference} needs {', '.join(worth)}.", False)]
