"""The pictures of the studies of data, as PNG."""

from typing import Any

import altair as alt
import pandas as pd

from scaling.report import theme

WIDTH, HEIGHT = 300, 260  # of a panel, CSS pixels


def mixture(losses: pd.DataFrame, result: dict[str, Any]) -> bytes:
    """Loss that the law says against the one measured, a colour a domain; and the best mixture's shares with
    their intervals, over a line at equal shares.

    Args:
      losses: domain, predicted, measured.
      result: mixture.json of the study.
    """
    domains = list(result["shares"])
    colour = alt.Color("domain:N", title="Domain", sort=domains)
    values = pd.concat([losses["predicted"], losses["measured"]])
    across = theme.x("measured", "Measured loss, nats per token", values, label=theme.plain)
    up = theme.y("predicted", "By the law", values, label=theme.plain)
    ends = pd.DataFrame({"measured": [values.min(), values.max()], "predicted": [values.min(), values.max()]})
    law = alt.layer(
        alt.Chart(ends).mark_line(color=theme.MUTED, strokeDash=[5, 4]).encode(x=across, y=up),
        alt.Chart(losses).mark_point(filled=True, size=40, opacity=1).encode(x=across, y=up, color=colour),
    )
    shares = pd.DataFrame(
        {"domain": d, "share": result["shares"][d], "lo": result["lo"][d], "hi": result["hi"][d]}
        for d in domains
    )
    name, scale = alt.X("domain:N", title=None, sort=domains), alt.Scale(domain=[0, 1])
    base = alt.Chart(shares).encode(x=name)
    best = alt.layer(
        base.mark_bar(size=34).encode(
            y=alt.Y("share:Q", title="Share of the best mixture", scale=scale), color=colour
        ),
        base.mark_rule(color=theme.INK, strokeWidth=1.5).encode(y=alt.Y("lo:Q", scale=scale), y2="hi:Q"),
        alt.Chart(pd.DataFrame({"equal": [1 / len(domains)]}))
        .mark_rule(color=theme.MUTED, strokeDash=[5, 4])
        .encode(y=alt.Y("equal:Q", scale=scale)),
    )
    return finished(alt.hconcat(*(panel.properties(width=WIDTH, height=HEIGHT) for panel in (law, best))))


def finished(chart: Any) -> bytes:
    """PNG of a chart with the looks of all figures."""
    config = theme.config()
    config["legend"] |= {"orient": "right", "titleOrient": "top", "offset": 12}
    config["concat"] = {"spacing": 30}
    return theme.png(chart.configure(**config).to_dict(validate=False))
