"""What sections of the page share: how shares are written, and bars by name."""

from typing import Any

import altair as alt
import pandas as pd

from experiments.data.composition.shares import Share
from scaling.report.charts import chart
from scaling.report.theme import ACCENT, INK, finish, tips, x


def percent(value: float | None) -> str:
    """A share for people: 41.7 %, 0.013 %; what is not known is a dash."""
    return "–" if value is None else f"{100 * value:.3g} %"


def interval(share: Share) -> str:
    """The 90 % interval of a share, nothing where it has no width."""
    return f"{100 * share.lo:.3g} – {100 * share.hi:.3g} %" if share.hi > share.lo else ""


def allowed(least: float | None, most: float | None) -> str:
    """The values of a score that stay."""
    if least is None:
        return f"≤ {most:,.6g}"
    return f"≥ {least:,.6g}" if most is None else f"{least:,.6g} – {most:,.6g}"


def names_axis(drawn: pd.DataFrame) -> alt.Y:
    """The vertical axis of names, in the order of the rows."""
    return alt.Y(
        "name:N",
        sort=list(drawn["name"]),
        title=None,
        axis=alt.Axis(grid=False, labelLimit=180, labelColor=INK),
    )


def height(drawn: pd.DataFrame) -> int:
    """Pixels of a figure with a name a row."""
    return max(22 * len(drawn), 60)


def bars(drawn: pd.DataFrame) -> dict[str, Any]:
    """Bars of shares by name with their intervals."""
    across, names = (
        x("share", "Share", [0.0, *drawn["hi"]], log=False, pad=0, label=percent),
        names_axis(drawn),
    )
    layers = [
        chart("groups", "bars")
        .mark_bar(color=ACCENT, fillOpacity=0.85)
        .encode(x=across, y=names, tooltip=tips(drawn, "name", "share", "documents")),
        chart("groups", "interval")
        .mark_rule(stroke=INK, strokeWidth=1.5)
        .encode(x=alt.X("lo:Q", scale=across["scale"]), x2="hi:Q", y=names),
    ]
    return finish(layers, {"groups": drawn}, height=height(drawn))
