"""The outlook (scaling/outlook/projection.py) as figures and as a section of the page."""

import json
import textwrap
from collections.abc import Callable
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scaling.outlook.inputs import list_inputs
from scaling.outlook.projection import EVENTS, SHOWN, Outlook, central
from scaling.outlook.quoted import HOURS
from scaling.report import theme
from scaling.report.charts import BAND, COMPUTE, LINE, chart
from scaling.report.page import Cell, Column, Figure, Section, Table, TableRow
from scaling.report.theme import VERIFY, e_notation, plain, si

ROOM = 1.2  # years to the right of the last, for the names of the lines
LATEST = 2045.0  # where the figure of dates ends
WORLD_PRODUCT = 1.11e14  # dollars, 2024, World Bank; prices end there
BANDS = "Lines: medians; bands: 90% intervals."
BOLD = {"align": "left", "fontWeight": 600}


def section(outlook: Outlook) -> Section:
    """The page's section: figures, when, and all inputs with their sources."""
    text = (
        "What the largest training run needs if trends go on, by scenario, in futures drawn from the inputs "
        "below. Nothing feeds back: that a trend asks for more than there is, and when, is the answer."
    )
    inputs = _inputs(outlook)
    half = len(inputs) // 2
    facts = {"Inputs, with 90% intervals and sources": inputs[:half], "Inputs, continued": inputs[half:]}
    drawn, when = figures(outlook), [_when(outlook)]
    return Section("bottlenecks", "Bottlenecks", text, figures=drawn, tables=when, facts=facts)


def figures(outlook: Outlook) -> list[Figure]:
    """All figures, each with its caption."""
    table = outlook.table
    power = {f"sector_mw{end}": table[f"sector_twh{end}"] * 1e6 / HOURS for end in ("", "_lo", "_hi")}
    made = [
        Figure(
            "bottlenecks",
            "When trends ask for more than there is",
            "Points: medians; bars: 90% intervals, cut off where the figure ends.",
            dates(outlook.when),
        ),
        Figure(
            "text_stock",
            "Text: tokens of the largest run at its compute optimum",
            f"{BANDS} Dashed: public human text, adjusted for quality and for what repeating is worth.",
            trend(table, "tokens", "Tokens", _tokens, limit="text_stock", words="all human text"),
        ),
        Figure(
            "run_power",
            "Power of the largest run",
            f"{BANDS} Dashed: what all data centres draw on average, in the central scenario.",
            trend(table.assign(**power), "megawatts", "Power", _watts, "sector_mw", "all data centres"),
        ),
        Figure(
            "electricity",
            "Electricity of all data centres",
            f"{BANDS} Data centres of all kinds, not only for language models.",
            trend(table, "sector_share", "Share of the world's electricity", _percent),
        ),
        Figure(
            "run_cost",
            "Money for the largest run",
            f"{BANDS} Hardware, written off over its hours, with its electricity; prices go on falling.",
            trend(table, "dollars", "Dollars", _dollars),
        ),
        Figure(
            "run_carbon",
            "Carbon of the largest run",
            f"{BANDS} Of its electricity, at the average of the world's power stations in that year.",
            trend(table, "tonnes_co2", "Tonnes of CO₂", si),
        ),
    ]
    middle = outlook.scenarios[central(outlook.scenarios)]
    run, year = middle.fixed_run, middle.fixed_run.year or 0
    made.append(
        Figure(
            "fixed_loss",
            "Money for a fixed loss",
            f"That of {run.value:.2g} FLOPs in {int(year)}. Each year a dollar buys more FLOPs and methods "
            f"need fewer. {BANDS}",
            trend(_of_middle(table), "fixed_dollars", "Dollars", _dollars),
        )
    )
    if outlook.returns is not None:
        year = outlook.scenarios[central(outlook.scenarios)].dollars_per_hour.year
        caption = (
            f"What must be added to a budget for 1% less loss, at the prices of {int(year or 0)} and up to "
            f"the world's product of a year. Band: uncertainty of the law; {outlook.notes[0]}."
        )
        title = "Money for the next per cent of loss"
        made.append(Figure("next_percent", title, caption, price(outlook.returns)))
    return made


def titled(figure: Figure) -> dict[str, Any]:
    """The spec of a figure that stands alone, under its title and caption."""
    size = {"anchor": "start", "offset": 18, "fontSize": 16, "subtitleFontSize": 12, "subtitlePadding": 8}
    words = {"text": figure.title, "subtitle": textwrap.wrap(figure.caption, 84)}
    return figure.spec | {"title": {**size, **words, "color": theme.INK, "subtitleColor": theme.MUTED}}


def trend(
    table: pd.DataFrame, what: str, title: str, label: Callable, limit: str = "", words: str = ""
) -> dict[str, Any]:
    """One quantity over years: a line with its band for each scenario, named at its end.

    Args:
      table: of an Outlook: scenario, year, and columns with their _lo and _hi.
      what: the column drawn; title: of its axis; label: how its numbers are written there.
      limit: a column of what there is, drawn dashed for the central scenario and named `words`.
    """
    lines = _of(table, what)
    names = list(lines["scenario"].unique())
    there = _of(table, limit or what).assign(words=words)
    there = there.loc[there["scenario"] == central(names)] if limit else there.head(0)
    values = [*lines["lo"], *lines["hi"], *there["lo"], *there["hi"]]
    across, up = _years(SHOWN[0], SHOWN[-1] + ROOM), theme.y("value", title, values, label=label)
    colour, between = _colour(names), {"y": alt.Y("lo:Q", scale=up["scale"]), "y2": "hi:Q"}
    first, last = (lines["year"].min(), lines["year"].max())
    numbers = [("value", title), ("lo", "from"), ("hi", "to")]
    tips = [
        alt.Tooltip("scenario:N", title="Scenario"),
        alt.Tooltip("year:Q", title="Year", format=".0f"),
        *(alt.Tooltip(f"{name}:Q", title=words, format=".3~g") for name, words in numbers),
    ]
    layers = [
        chart("there", "limit_band")
        .mark_area(**{**BAND, "fill": VERIFY, "fillOpacity": 0.08})
        .encode(x=across, **between),
        chart("lines", "band").mark_area(opacity=0.13).encode(x=across, color=colour, **between),
        chart("there", "limit")
        .mark_line(stroke=VERIFY, strokeWidth=2, strokeDash=[6, 4])
        .encode(x=across, y=up),
        chart("lines").mark_line(strokeWidth=2.4).encode(x=across, y=up, color=colour, tooltip=tips),
        chart("lines", "names")
        .mark_text(dx=8, **BOLD)
        .transform_filter(f"datum.year == {last}")
        .encode(x=across, y=up, text="scenario:N", color=colour),
        chart("there", "limit_name")
        .mark_text(dx=4, dy=-14, fill=VERIFY, **BOLD)
        .transform_filter(f"datum.year == {first}")
        .encode(x=across, y=up, text="words:N"),
    ]
    return _finish(layers, {"lines": lines, "there": there})


def dates(when: pd.DataFrame) -> dict[str, Any]:
    """When each event comes: a point and a bar for each scenario, below the event's name."""
    names, events = list(when["scenario"].unique()), list(EVENTS)
    step = 1 / (len(names) + 1.5)
    rows = when.assign(
        place=[
            events.index(e) + step * (1 + names.index(s)) for e, s in zip(when["event"], when["scenario"])
        ],
        words=[f"{s}, {_year(year)}" for s, year in zip(when["scenario"], when["year"])],
        **{end: np.minimum(when[end], LATEST) for end in ("year", "year_lo", "year_hi")},
    )
    heads = pd.DataFrame({
        "year": SHOWN[0], "place": range(len(events)),
        "words": [EVENTS[event][2].capitalize() for event in events],
    })  # fmt: skip
    across, colour = _years(SHOWN[0], LATEST), _colour(names)
    down = alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[len(events) - step, -0.1], nice=False))
    bar = {"x": alt.X("year_lo:Q", scale=across["scale"]), "x2": "year_hi:Q"}
    layers = [
        chart("rows", "bars")
        .mark_rule(strokeWidth=3, strokeOpacity=0.35)
        .encode(y=down, color=colour, **bar),
        chart("rows").mark_point(filled=True, size=90, opacity=1).encode(x=across, y=down, color=colour),
        chart("rows", "names")
        .mark_text(dx=9, dy=-9, **BOLD)
        .encode(x=across, y=down, text="words:N", color=colour),
        chart("heads").mark_text(align="left", fontSize=13).encode(x=across, y=down, text="words:N"),
    ]
    return _finish(layers, {"rows": rows, "heads": heads})


def price(returns: pd.DataFrame) -> dict[str, Any]:
    """Dollars of the next per cent over budgets, as far as the world could pay them."""
    lines = _of(returns.loc[returns["dollars"] < WORLD_PRODUCT], "dollars", "flops", "loss", "factor")
    across = theme.x("flops", COMPUTE, lines["flops"], label=e_notation, pad=0)
    up = theme.y("value", "Dollars for 1% less loss", [*lines["value"], *lines["lo"]], label=_dollars)
    lines["hi"] = np.minimum(lines["hi"].fillna(np.inf), up["scale"]["domain"][1])
    tips = [
        alt.Tooltip("flops:Q", title="FLOPs C", format=".3~e"),
        alt.Tooltip("loss:Q", title="Loss", format=".4f"),
        alt.Tooltip("factor:Q", title="Compute, times", format=".3~g"),
        alt.Tooltip("value:Q", title="Dollars", format=".3~s"),
    ]
    band = {"y": alt.Y("lo:Q", scale=up["scale"]), "y2": "hi:Q"}
    layers = [
        chart("lines", "band").mark_area(**BAND).encode(x=across, **band),
        chart("lines").mark_line(**LINE).encode(x=across, y=up, tooltip=tips),
    ]
    return _finish(layers, {"lines": lines})


def _of_middle(table: pd.DataFrame) -> pd.DataFrame:
    """Of what is the same in all scenarios."""
    return pd.DataFrame(table[table["scenario"] == central(table["scenario"].unique())])


def _of(table: pd.DataFrame, what: str, *others: str) -> pd.DataFrame:
    """value, lo and hi of a column, and what they stand over; years at their middle."""
    kept = {name: table[name] for name in others or ("scenario", "year")}
    found = pd.DataFrame({**kept, "value": table[what], "lo": table[f"{what}_lo"], "hi": table[f"{what}_hi"]})
    return found if others else found.assign(year=found["year"] + 0.5)


def _colour(names: list[str]) -> alt.Color:
    return alt.Color("scenario:N", scale=alt.Scale(domain=names, range=theme.ramp(len(names))), legend=None)


def _years(first: float, last: float) -> alt.X:
    return theme.x("year", "", [first, last], log=False, pad=0, label=plain)


def _finish(layers: list[alt.Chart], tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """As theme.finish, with all columns of the tables."""
    spec = theme.finish(layers, tables)
    return spec | {
        "datasets": {
            name: json.loads(str(tables[name].to_json(orient="records"))) for name in spec["datasets"]
        }
    }


def _tokens(count: float) -> str:
    return f"{count / 1e12:,g}T"


def _watts(megawatts: float) -> str:
    return f"{megawatts:g} MW" if megawatts < 1000 else f"{megawatts / 1000:,g} GW"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _dollars(value: float) -> str:
    return f"${si(value)}"


def _year(year: float) -> str:
    return f"{int(year)}" if year < np.inf else "later"


def _when(outlook: Outlook) -> Table:
    columns = [
        Column("When", text=True),
        Column("Scenario", text=True),
        Column("Year"),
        Column("90% interval"),
    ]
    rows = []
    for row in outlook.when.to_dict("records"):
        year, lo, hi = (_year(row[f"year{end}"]) for end in ("", "_lo", "_hi"))
        words = [EVENTS[row["event"]][2], row["scenario"]]
        rows.append(
            TableRow([*(Cell(word, kind="text") for word in words), Cell(year), Cell(f"{lo} to {hi}")])
        )
    return Table("When", columns, rows)


def _inputs(outlook: Outlook) -> list[tuple[str, str]]:
    lines = []
    for name, scenario, value in list_inputs(outlook.scenarios):
        title = name.replace("_", " ") + ("" if scenario == "all" else f", {scenario}")
        year = f" in {value.year:g}" if value.year else ""
        numbers = f"{value.value:.4g} [{value.lo:.4g}, {value.hi:.4g}] {value.unit}{year}"
        lines.append((title.capitalize(), f"{numbers}. {value.source}"))
    return lines
