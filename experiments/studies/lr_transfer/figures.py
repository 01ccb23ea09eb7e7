"""The pictures of the study lr_transfer, as PNG: sweeps, optima, coordinate check."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scaling.report import theme

WORDS = {"standard": "Standard", "mup": "muP"}
CAPTIONS = {  # title and caption of each
    "sweeps": ("Loss by learning rate", "A line a size; diamonds with bars: the optima and their intervals."),
    "optima": ("The best learning rate by size", "Bars are intervals; a hollow point is only a bound."),
    "coordinates": ("Change of activations in a few steps, by size", "A line a place in the network."),
}
COLOURS = {"Standard": theme.VERIFY, "muP": theme.ACCENT}
WIDTH, HEIGHT = 330, 250  # of a panel, CSS pixels


def draw(losses: pd.DataFrame, optima: pd.DataFrame, coordinates: pd.DataFrame) -> dict[str, bytes]:
    """PNG by name, from the tables of the study."""
    specs = {"sweeps": sweeps(losses, optima), "optima": moves(optima), "coordinates": changes(coordinates)}
    return {name: theme.png(finished(chart)) for name, chart in specs.items()}


def finished(chart: Any) -> dict[str, Any]:
    """The spec with the looks of all figures."""
    config = theme.config()
    config["legend"] |= {"orient": "right", "titleOrient": "top", "offset": 12}
    config["title"] = {"anchor": "start", "fontSize": 13, "fontWeight": 600, "color": theme.INK, "offset": 26}
    config["concat"] = {"spacing": 36}
    return chart.configure(**config).to_dict(validate=False)


def grid(panel, table: pd.DataFrame) -> alt.VConcatChart:
    """A row for widths and one for depths; in each a panel for either parametrisation, on common axes."""
    rows = []
    for along in ("width", "depth"):
        row = table[table["along"] == along]
        panels = [
            panel(row, name).properties(width=WIDTH, height=HEIGHT, title=f"{words}, over {along}")
            for name, words in WORDS.items()
        ]
        rows.append(alt.hconcat(*panels))
    return alt.vconcat(*rows).resolve_scale(color="independent")


def colour(row: pd.DataFrame, field: str, title: str) -> alt.Color:
    """One colour a value, in its order in the table."""
    order = list(row[field].drop_duplicates())
    legend = alt.Legend(title=title, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)
    return alt.Color(
        f"{field}:N", sort=order, scale=alt.Scale(domain=order, range=theme.ramp(len(order))), legend=legend
    )


def sweeps(losses: pd.DataFrame, optima: pd.DataFrame) -> alt.VConcatChart:
    """Loss against learning rate, a line a size; diamonds with bars are the optima and their intervals."""
    seen = losses.loc[np.isfinite(losses["loss"])]

    def panel(row: pd.DataFrame, name: str) -> Any:
        mine = row[row["parametrisation"] == name]
        best = optima[(optima["along"] == row["along"].iloc[0]) & (optima["parametrisation"] == name)]
        top = row["loss"].min() + 0.75 * (np.quantile(row["loss"], 0.9) - row["loss"].min())
        across = theme.x("lr", "Learning rate", row["lr"], label=short)
        up = theme.y("loss", "Loss, nats per token", np.clip(row["loss"], None, top), label=theme.plain)
        by = colour(row, "size", row["along"].iloc[0].capitalize())
        lines = alt.Chart(mine).mark_line(strokeWidth=2, clip=True, point={"size": 22, "opacity": 1})
        reach = alt.Chart(best).mark_rule(strokeWidth=5, opacity=0.45, clip=True)
        points = alt.Chart(best).mark_point(
            shape="diamond", size=110, filled=True, opacity=1, stroke="var(--paper)", strokeWidth=1, clip=True
        )
        return alt.layer(
            lines.encode(x=across, y=up, color=by),
            reach.encode(x=alt.X("lo:Q", scale=across["scale"]), x2="hi:Q", y="loss:Q", color=by),
            points.encode(x=alt.X("lr:Q", scale=across["scale"]), y="loss:Q", color=by),
        )

    return grid(panel, seen)


def moves(optima: pd.DataFrame) -> alt.HConcatChart:
    """The best learning rate against the size, with its interval; hollow: only a bound."""
    table = optima.assign(
        words=[WORDS[name] for name in optima["parametrisation"]],
        known=~optima["at_edge"],
        # The two share the base size: side by side, both are seen.
        beside=optima["size"] * np.where(optima["parametrisation"] == "mup", 1.02, 1 / 1.02),
    )
    lrs = np.array(table["lr"])
    ends = np.clip([lrs, table["lo"], table["hi"]], lrs.min() / 2, lrs.max() * 2).ravel()
    panels = []
    for along, title in (("width", "Width (d_model)"), ("depth", "Depth (layers)")):
        row = table.loc[table["along"] == along]
        across = theme.x("beside", title, row["size"], label=theme.plain, pad=0.08)
        ticks = sorted(set(row["size"]))
        across["axis"] = alt.Axis(grid=False, values=ticks, labelExpr="round(datum.value)")
        up = theme.y("lr", "Best learning rate", ends, label=short)
        by = alt.Color(
            "words:N",
            title=None,
            scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
            legend=alt.Legend(symbolType="circle", symbolOpacity=1),
        )
        base = alt.Chart(row)
        panels.append(
            alt.layer(
                base.mark_line(strokeWidth=2).encode(x=across, y=up, color=by),
                base.mark_rule(strokeWidth=6, opacity=0.35, clip=True).encode(
                    x=across, y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q", color=by
                ),
                base.mark_point(size=50, opacity=1, strokeWidth=2).encode(
                    x=across,
                    y=up,
                    color=by,
                    fill=alt.condition("datum.known", by, alt.value("var(--paper)")),
                ),
            ).properties(width=WIDTH, height=HEIGHT, title=f"Optimum over {along}")
        )
    return alt.hconcat(*panels)


def changes(coordinates: pd.DataFrame) -> alt.VConcatChart:
    """Change of activations in a few steps against the size: a line a place in the network."""

    def panel(row: pd.DataFrame, name: str) -> Any:
        mine = row[row["parametrisation"] == name]
        ticks = sorted(set(row["size"]))
        across = theme.x("size", row["along"].iloc[0].capitalize(), row["size"], label=theme.plain)
        across["axis"] = alt.Axis(grid=False, values=ticks, labelExpr="round(datum.value)")
        up = theme.y("change", "Mean absolute change", row["change"], label=short)
        by = colour(row, "after", "After")
        line = alt.Chart(mine).mark_line(strokeWidth=2, point={"size": 30, "opacity": 1})
        return alt.layer(line.encode(x=across, y=up, color=by))

    return grid(panel, coordinates)


def short(value: float) -> str:
    """A rate or a change on an axis: 0.004, 3e-05."""
    return f"{value:g}"
