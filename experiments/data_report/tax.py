"""What the same sentences cost in each language, by vocabulary: a heat map and a table."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from experiments.data.composition.web_languages import LANGUAGES
from experiments.data.vocabularies.tax import REFERENCE, Tax, inequality
from scaling.report.charts import chart
from scaling.report.page import Cell, Column, Figure, Section, Table, TableRow
from scaling.report.theme import INK, finish, tips

CELL = 22  # pixels of a row


def tax_section(taxes: Mapping[str, list[Tax]]) -> Section:
    """The section about vocabularies, by name; the languages in the order of the first one's tax."""
    rows = [
        {
            "name": name_of(row.language),
            "vocabulary": vocabulary,
            "worth": row.tax,
            "words": f"{row.tax:.2f}",
            "tokens_per_sentence": row.tokens_per_sentence,
        }
        for vocabulary, found in taxes.items()
        for row in found
    ]
    tables = [
        Table(
            f"Tokens of {vocabulary}",
            [Column("Language", text=True), *map(Column, ("A sentence", "Tax", "A character", "A byte"))],
            [
                TableRow(
                    [
                        Cell(name_of(row.language), None, "text"),
                        Cell(f"{row.tokens_per_sentence:.1f}", row.tokens_per_sentence),
                        Cell(f"{row.tax:.2f}", row.tax),
                        Cell(f"{row.tokens_per_character:.3f}", row.tokens_per_character),
                        Cell(f"{row.tokens_per_byte:.3f}", row.tokens_per_byte),
                    ]
                )
                for row in found
            ],
        )
        for vocabulary, found in taxes.items()
    ]
    said = "; ".join(f"{vocabulary} {inequality(found):.3f}" for vocabulary, found in taxes.items())
    text = f"Gini coefficient of tokens a sentence over languages, 0 where all pay alike: {said}."
    caption = f"Tokens over those of the same sentences in {name_of(REFERENCE)}."
    figure = Figure("tax", "The tokenizer tax", caption, _heat_map(pd.DataFrame(rows)))
    return Section("vocabularies", "Tokens for the same sentences", text, figures=[figure], tables=tables)


def name_of(language: str) -> str:
    """The name of a language, or its code where that is all that is known."""
    return LANGUAGES[language].name if language in LANGUAGES else language


def _heat_map(rows: pd.DataFrame) -> dict[str, Any]:
    names = list(rows["name"].drop_duplicates())
    vocabularies = list(rows["vocabulary"].drop_duplicates())
    top = alt.Axis(orient="top", labelAngle=0, grid=False, domain=False, ticks=False)
    across = alt.X("vocabulary:N", sort=vocabularies, title=None, axis=top)
    up = alt.Y("name:N", sort=names, title=None, axis=alt.Axis(grid=False, labelColor=INK))
    ends = [float(value) for value in (min(1.0, *rows["worth"]), max(1.01, *rows["worth"]))]
    # Opacity, not lightness: it reads on light paper and on dark.
    shade = alt.Opacity("worth:Q", scale=alt.Scale(type="log", domain=ends, range=[0.06, 0.85]), legend=None)
    layers = [
        chart("tax", "cells")
        .mark_rect(color="var(--verify)")
        .encode(
            x=across, y=up, opacity=shade, tooltip=tips(rows, "name", "vocabulary", "tokens_per_sentence")
        ),
        chart("tax", "words").mark_text(fontSize=12).encode(x=across, y=up, text="words:N"),
    ]
    return finish(layers, {"tax": rows}, height=CELL * len(names))
