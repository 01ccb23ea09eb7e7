"""The picture of the study test_time_compute, as PNG: quality against FLOPs, a panel a model."""

from typing import Any

import altair as alt
import pandas as pd

from scaling.report import theme

WIDTH, HEIGHT = 300, 300  # of a panel, CSS pixels


def draw(table: pd.DataFrame, chance: float) -> bytes:
    """The picture, from the table of the study."""
    order = list(table["method"].drop_duplicates())
    legend = alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1, columns=2)
    colours = [theme.INK, theme.VERIFY, *theme.ramp(len(order) - 2)]
    colour = alt.Color("method:N", sort=order, scale=alt.Scale(domain=order, range=colours), legend=legend)
    panels = [panel(rows, str(model), colour, chance) for model, rows in table.groupby("model", sort=False)]
    chart = alt.hconcat(*panels).resolve_scale(y="shared")
    config = theme.config()
    config["legend"] |= {"orient": "bottom", "offset": 18, "labelLimit": 320}
    config["title"] = {"anchor": "start", "fontSize": 13, "fontWeight": 600, "color": theme.INK, "offset": 14}
    config["concat"] = {"spacing": 30}
    return theme.png(chart.configure(**config).to_dict(validate=False))


def panel(rows: pd.DataFrame, title: str, colour: alt.Color, chance: float) -> Any:
    """One model: a line a method, with its interval, and the level of chance.

    Args:
      rows: columns flops, right, lo, hi, and those that colour needs.
      title: above the panel.
      colour: of a method.
      chance: share that guessing gets right.
    """
    across = theme.x("flops", "FLOPs a question", rows["flops"])
    up = alt.Y("right:Q", title="Right", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    base = alt.Chart(rows).encode(x=across, color=colour)
    luck = alt.Chart(pd.DataFrame([{"right": chance, "words": "chance"}])).encode(y=up)
    return alt.layer(
        luck.mark_rule(stroke="var(--line)", strokeDash=[4, 4], strokeWidth=1.5),
        luck.mark_text(align="right", dy=-8, fill=theme.MUTED).encode(x=alt.value(WIDTH - 6), text="words:N"),
        base.mark_rule(opacity=0.35, strokeWidth=1.5).encode(y=alt.Y("lo:Q"), y2="hi:Q"),
        base.mark_line(strokeWidth=2, point={"size": 36, "opacity": 1}).encode(y=up),
    ).properties(width=WIDTH, height=HEIGHT, title=title)
