"""The page that says what is in a corpus: one HTML file that loads nothing, as the other pages look."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from experiments.data.composition.counts import STEPS, Composition, bucket_edge
from experiments.data.composition.shares import group_rows, language_rows, length_quantiles
from experiments.data.composition.survey import LANGUAGE
from experiments.data.composition.web_languages import CRAWL
from experiments.data.sources.left_out import as_words
from experiments.data_report.parts import bars, height, interval, names_axis, percent
from experiments.data_report.quality import quality_section
from scaling.report.charts import chart
from scaling.report.page import (
    Cell,
    Column,
    Figure,
    PageHead,
    Section,
    Table,
    TableRow,
    bundled,
    render,
    start_bundling,
)
from scaling.report.theme import ACCENT, MUTED, VERIFY, finish, si, tips, x, y

MOST_ROWS = 30  # of a figure: the largest
MOST_TABLE_ROWS = 500
LEAST_SHARE = 1e-5  # of the axis
NAME_SIZE = (0.17, 0.05)  # width and height of a name, in parts of a figure
TITLES = {"domain": "Domains", LANGUAGE: "Languages"}


def page(name: str, composition: Composition, sections: list[Section] | None = None) -> str:
    """The HTML of a corpus called `name`; `sections` of others stand before the last one.

    Raises:
      OSError: the libraries that draw the page could not be bundled.
    """
    with start_bundling() as bundling:
        made = [
            _languages(composition),
            *(_group(composition, question) for question in composition.groups if question != LANGUAGE),
            _lengths(composition),
            quality_section(composition),
            *(sections or []),
        ]
        return render(_head(name, composition), [each for each in made if each], bundled(bundling))


def _head(name: str, composition: Composition) -> PageHead:
    total, looked_at = composition.total, composition.looked_at
    rows = [row for row in language_rows(composition) if row["web"] is not None]
    headline: list[tuple[str, bool]] = [
        (f"{si(total.bytes)}B of text in {total.documents:,} documents", False)
    ]
    if rows:
        first = ", ".join(f"{row['name']} {percent(row['share_bytes'].value)}" for row in rows[:2])
        more = f" and {len(rows) - 2} more languages" if len(rows) > 2 else ""
        headline = [(f"{first}{more} in {si(total.bytes)}B of text", False)]
    lede = ""
    if looked_at.documents < total.documents:
        lede = (
            f"Shares are estimated from {looked_at.documents:,} documents taken by hash, with 90 % "
            "intervals. Documents, bytes and copies are counted in all."
        )
    median = length_quantiles(composition.lengths).get(0.5, 0)
    key = [
        ("Documents", si(total.documents), ""),
        ("Bytes", si(total.bytes), f"{total.bytes / max(total.characters, 1):.2f} a character"),
        ("Median document", f"{si(median, 2)}B", ""),
        ("Copies", percent(composition.texts.share_of_copies), "documents that repeat another's text"),
    ]
    if looked_at.tokens:
        n_tokens = looked_at.tokens / looked_at.bytes * total.bytes
        key.insert(2, ("Tokens", si(n_tokens), f"{looked_at.bytes / looked_at.tokens:.2f} bytes each"))
    if composition.skipped:
        key.append(("Left out", si(sum(composition.skipped.values())), as_words(composition.skipped)))
    footer = "Made by isoflop data."
    return PageHead(name, f"What is in {name}", headline, lede, key, footer)


def _languages(composition: Composition) -> Section | None:
    rows = language_rows(composition)
    if not rows:
        return None
    drawn = pd.DataFrame(
        [
            {
                "name": row["name"],
                "share": row["share_bytes"].value,
                "lo": max(row["share_bytes"].lo, LEAST_SHARE),
                "hi": row["share_bytes"].hi,
                "web": row["web"],
                "speakers": row["speakers"],
                "documents": row["documents"],
                "kind": "low-resource" if row["low_resource"] else "other",
            }
            for row in rows
        ]
    )
    sampled = composition.looked_at.documents < composition.total.documents
    known = drawn.loc[drawn["web"].notna() & drawn["speakers"].notna() & (drawn["share"] > LEAST_SHARE)]
    figures = [
        Figure(
            "languages",
            "Share of the bytes, by language",
            f"Dots{' with 90 % intervals' if sampled else ''}: this corpus. Bars: the share of Common "
            f"Crawl's pages ({CRAWL}). Logarithmic; what is below 0.001 % is not drawn.",
            _dots(drawn.loc[drawn["share"] > LEAST_SHARE].head(MOST_ROWS)),
        )
    ]
    if len(known) > 1:
        figures.append(
            Figure(
                "speakers",
                "Share of the bytes against speakers",
                "Each dot is a language; low-resource ones, with less than 1 % of Common Crawl, in orange. "
                "On the line each speaker has as much text as another.",
                _speakers(known),
            )
        )
    table = Table(
        "Languages",
        [
            Column("Language", text=True),
            *map(Column, ("Documents", "Of bytes", "90 %", "Of the web", "Speakers, M")),
            Column("", text=True),
        ],
        [
            TableRow(
                [
                    Cell(f"{row['name']} ({row['value']})", None, "text"),
                    Cell(f"{row['documents']:,}", row["documents"]),
                    Cell(percent(row["share_bytes"].value), row["share_bytes"].value),
                    Cell(interval(row["share_bytes"])),
                    Cell(percent(row["web"]), row["web"] or 0.0),
                    Cell("–" if row["speakers"] is None else f"{row['speakers']:g}", row["speakers"] or 0.0),
                    Cell("low-resource" if row["low_resource"] else "", None, "text"),
                ]
            )
            for row in rows[:MOST_TABLE_ROWS]
        ],
    )
    text = (
        "By py3langid, from the beginning of each document. It abstains where it is less than half sure, and "
        "its errors on short or mixed text are not small."
    )
    return Section("languages", "Languages", text, figures=figures, tables=[table])


def _group(composition: Composition, question: str) -> Section:
    rows = group_rows(composition, question)
    title = TITLES.get(question, question.capitalize())
    drawn = pd.DataFrame(
        [
            {
                "name": row["value"],
                "share": row["share_bytes"].value,
                "lo": row["share_bytes"].lo,
                "hi": row["share_bytes"].hi,
                "documents": row["documents"],
            }
            for row in rows[:MOST_ROWS]
        ]
    )
    table = Table(
        title,
        [Column(title, text=True), *map(Column, ("Documents", "Of documents", "Of bytes", "90 %"))],
        [
            TableRow(
                [
                    Cell(row["value"], None, "text"),
                    Cell(f"{row['documents']:,}", row["documents"]),
                    Cell(percent(row["share"].value), row["share"].value),
                    Cell(percent(row["share_bytes"].value), row["share_bytes"].value),
                    Cell(interval(row["share_bytes"])),
                ]
            )
            for row in rows[:MOST_TABLE_ROWS]
        ],
    )
    text = (
        f"{len(rows):,} values"
        + (f"; the {MOST_ROWS} largest are drawn" if len(rows) > MOST_ROWS else "")
        + "."
    )
    sampled = composition.looked_at.documents < composition.total.documents
    caption = "With 90 % intervals." if sampled else ""
    figure = Figure(f"group_{question}", f"Share of the bytes, by {question}", caption, bars(drawn))
    return Section(f"group-{question}", title, text, figures=[figure], tables=[table])


def _lengths(composition: Composition) -> Section:
    n = sum(composition.lengths.values()) or 1
    drawn = pd.DataFrame(
        [
            {"n_lo": bucket_edge(k), "n_hi": bucket_edge(k + 1), "share": v / n, "documents": v}
            for k, v in sorted(composition.lengths.items())
        ],
        columns=["n_lo", "n_hi", "share", "documents"],
    )
    quantiles = length_quantiles(composition.lengths)
    facts = {
        "Bytes of a document": [
            (f"{100 * q:g} % have at most", f"{value:,.0f}") for q, value in quantiles.items()
        ]
    }
    caption = f"{STEPS} bars for each doubling."
    figure = Figure("lengths", "Documents by length", caption, _histogram(drawn))
    return Section("lengths", "Lengths", figures=[figure] if len(drawn) else [], facts=facts)


def _dots(drawn: pd.DataFrame) -> dict[str, Any]:
    values = [*drawn["share"], *drawn["lo"], *drawn["hi"], *drawn["web"].dropna().clip(lower=LEAST_SHARE)]
    across, names = x("share", "Share", values, label=percent), names_axis(drawn)
    web = alt.X("web:Q", scale=across["scale"])
    layers = [
        chart("languages", "web")
        .mark_tick(thickness=3, size=14, color=MUTED, clip=True)
        .encode(x=web, y=names),
        chart("languages", "interval")
        .mark_rule(stroke=ACCENT, strokeWidth=2)
        .encode(x=alt.X("lo:Q", scale=across["scale"]), x2="hi:Q", y=names),
        chart("languages")
        .mark_point(filled=True, size=70, opacity=1, color=ACCENT)
        .encode(x=across, y=names, tooltip=tips(drawn, "name", "share", "web", "speakers", "documents")),
    ]
    return finish(layers, {"languages": drawn}, height=height(drawn))


def _speakers(known: pd.DataFrame) -> dict[str, Any]:
    across = x("speakers", "Speakers, millions", known["speakers"], label=lambda v: f"{v:g}", pad=0.06)
    per_speaker = known["share"].sum() / known["speakers"].sum()
    ends = pd.DataFrame({"speakers": [known["speakers"].min(), known["speakers"].max()]})
    ends["share"] = ends["speakers"] * per_speaker
    up = y("share", "Share of the bytes", [*known["share"], *ends["share"]], label=percent, pad=0.06)
    colour = alt.condition("datum.kind == 'low-resource'", alt.value(VERIFY), alt.value(ACCENT))
    layers = [
        chart("even").mark_line(stroke=MUTED, strokeDash=[4, 4]).encode(x=across, y=up),
        chart("known", "languages")
        .mark_point(filled=True, size=60, opacity=1)
        .encode(x=across, y=up, color=colour, tooltip=tips(known, "name", "share", "web", "speakers")),
        chart("named", "names").mark_text(dy=-10, fontSize=11).encode(x=across, y=up, text="name:N"),
    ]
    return finish(layers, {"known": known, "even": ends, "named": _named(known)}, height=440)


def _named(known: pd.DataFrame) -> pd.DataFrame:
    """The dots whose names are written: from the outermost inwards, those that cover no other name."""
    places = np.log10(known[["speakers", "share"]].to_numpy())
    places /= np.maximum(np.ptp(places, axis=0), 1e-9)  # the figure is a unit square
    kept: list[int] = []
    for i in np.argsort(-np.abs(places - places.mean(axis=0)).sum(axis=1), kind="stable"):
        apart = np.abs(places[kept] - places[i]) > NAME_SIZE
        if apart.any(axis=1).all():
            kept.append(int(i))
    return known.iloc[kept]


def _histogram(drawn: pd.DataFrame) -> dict[str, Any]:
    across = x("n_lo", "Bytes of a document", [*drawn["n_lo"], *drawn["n_hi"]], pad=0)
    up = y("share", "Share of documents", [0.0, *drawn["share"]], log=False, pad=0, label=percent)
    bars = chart("lengths", "bars").mark_bar(color=ACCENT, fillOpacity=0.85, binSpacing=1)
    layers = [
        bars.encode(x=across, x2="n_hi:Q", y=up, y2=alt.Y2Datum(0), tooltip=tips(drawn, "share", "documents"))
    ]
    return finish(layers, {"lengths": drawn})
