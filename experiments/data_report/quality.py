"""What filters of quality say of a corpus: what each would remove, and how what it measures is spread."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from experiments.data.composition.counts import Composition, Scores
from experiments.data.composition.shares import score_rows
from experiments.data_report.parts import allowed, bars, percent
from scaling.report.charts import chart
from scaling.report.page import Cell, Column, Figure, Section, Table, TableRow
from scaling.report.theme import ACCENT, VERIFY, finish, tips, x, y

N_BARS = 40  # of a distribution
DRAWN = (0.01, 0.99)  # quantiles between which a distribution is drawn
WIDE = 30.0  # ratio of these from which its axis is logarithmic


def quality_section(composition: Composition) -> Section | None:
    """Filters asked of each document; None where none was."""
    if not composition.removed_by:
        return None
    n = composition.looked_at.documents or 1
    rows = sorted(composition.removed_by.items(), key=lambda item: -item[1])
    drawn = pd.DataFrame(
        [{"name": k, "share": v / n, "documents": v, "lo": v / n, "hi": v / n} for k, v in rows if v]
    )
    figures = [Figure("filters", "Documents each filter would remove", "", bars(drawn))] if len(drawn) else []
    scores = score_rows(composition)
    distributions = (_distribution(row, composition.scores[row["filter"]]) for row in scores)
    figures += [figure for figure in distributions if figure]
    removed = Table(
        "Filters",
        [Column("Filter", text=True), Column("Would remove"), Column("Of documents")],
        [TableRow([Cell(k, None, "text"), Cell(f"{v:,}", v), Cell(percent(v / n), v / n)]) for k, v in rows],
    )
    text = "Each filter asked of every document by itself, whatever the others say." + (
        " Below, what filters measure: documents in orange are outside the limits and would go."
        if scores
        else ""
    )
    tables = [removed, _table(scores)] if scores else [removed]
    return Section("filters", "Quality", text, figures=figures, tables=tables)


def _table(scores: list[dict[str, Any]]) -> Table:
    quantiles = (0.01, 0.25, 0.5, 0.75, 0.99)
    columns = [Column("Filter", text=True), Column("Measures", text=True)]
    columns += [Column("Median" if q == 0.5 else f"{100 * q:g} %") for q in quantiles]
    return Table(
        "Scores",
        [*columns, Column("Stays")],
        [
            TableRow(
                [
                    Cell(row["filter"], None, "text"),
                    Cell(row["what"], None, "text"),
                    *(Cell(f"{row['quantiles'][q]:.3g}", row["quantiles"][q]) for q in quantiles),
                    Cell(allowed(row["least"], row["most"])),
                ]
            )
            for row in scores
        ],
    )


def _distribution(row: dict[str, Any], scores: Scores) -> Figure | None:
    """The histogram of one score. Documents beyond DRAWN stand in the outermost bars, and those of a value
    that most have are not drawn; None where all have it."""
    values = np.array(list(scores.documents))
    weights = np.array(list(scores.documents.values()))
    total, commonest = weights.sum(), int(np.argmax(weights))
    caption = f"Stays: {allowed(row['least'], row['most'])}. It would remove {percent(row['removed'])}."
    if weights[commonest] > 0.5 * total:
        caption += f" Not drawn: {percent(weights[commonest] / total)} have {values[commonest]:g}."
        values, weights = np.delete(values, commonest), np.delete(weights, commonest)
    if not len(values):
        return None
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    lo, hi = (float(values[order][np.searchsorted(below, q)]) for q in DRAWN)
    limits = [limit for limit in (row["least"], row["most"]) if limit is not None]
    near = [limit for limit in limits if lo - (hi - lo) <= limit <= hi + (hi - lo)]
    lo, hi = min(lo, *near, hi), max(hi, *near, lo)
    log = lo > 0 and hi / lo > WIDE
    if hi - lo < 1e-9:
        lo, hi = lo - 0.5, hi + 0.5
    edges = np.geomspace(lo, hi, N_BARS + 1) if log else np.linspace(lo, hi, N_BARS + 1)
    counts = np.histogram(np.clip(values, lo, hi), edges, weights=weights)[0]
    inside = (edges[1:] > scores.least) & (edges[:-1] < scores.most)
    drawn = pd.DataFrame(
        {"n_lo": edges[:-1], "n_hi": edges[1:], "share": counts / total, "documents": counts.astype(int)}
    )
    across = x("n_lo", row["what"].capitalize(), edges, log=log, pad=0.01, label=lambda value: f"{value:.3g}")
    up = y("share", "Share of documents", [0.0, *drawn["share"]], log=False, pad=0, label=percent)
    layers = [
        chart(table, table)
        .mark_bar(color=colour, fillOpacity=0.85, binSpacing=0.5)
        .encode(x=across, x2="n_hi:Q", y=up, y2=alt.Y2Datum(0), tooltip=tips(drawn, "share", "documents"))
        for table, colour in (("stays", ACCENT), ("goes", VERIFY))
    ]
    spec = finish(layers, {"stays": drawn.loc[inside], "goes": drawn.loc[~inside]})
    return Figure(f"score_{row['filter']}", row["filter"], caption, spec)
