"""The pictures of the study, as PNG."""

from typing import Any

import altair as alt
import pandas as pd

from scaling.report import theme

FEWEST = 0.05  # share of questions below which a risk is that of a handful


def policies(table: pd.DataFrame) -> bytes:
    """Score against threshold, a panel a width.

    Args:
      table: width, threshold, seed, score, best, everything.
    """
    across = alt.X(
        "threshold:Q",
        title="t: a wrong answer costs t / (1 - t)",
        scale=alt.Scale(domain=[0, table["threshold"].to_numpy(float).max() + 0.1]),
    )
    panels = []
    of_widths: Any = table.groupby("width")
    for width, rows in of_widths:
        means: Any = rows.groupby("threshold")[["best", "everything"]].mean().reset_index()
        up = theme.y("score", "Score a question", table[["score", "best"]].to_numpy().ravel(), log=False)
        layers = [
            alt.Chart(means)
            .mark_line(color=theme.MUTED, clip=True, point={"color": theme.MUTED})
            .encode(x=across, y="everything:Q"),
            alt.Chart(means)
            .mark_line(color=theme.ACCENT, strokeDash=[5, 4], point={"color": theme.ACCENT, "filled": False})
            .encode(x=across, y="best:Q"),
            alt.Chart(rows).mark_circle(color=theme.ACCENT, opacity=1, size=60).encode(x=across, y=up),
        ]
        panels.append(alt.layer(*layers).properties(width=300, height=260, title=f"width {width}"))
    return _png(alt.hconcat(*panels))


def remedies(table: pd.DataFrame) -> bytes:
    """Score of each remedy with its interval, the best first.

    Args:
      table: remedy, score, lo, hi, coverage.
    """
    order = table.sort_values("score", ascending=False)["remedy"].tolist()
    down = alt.Y("remedy:N", sort=order, title=None, axis=alt.Axis(labelLimit=260))
    chart = alt.Chart(table)
    layers = [
        chart.mark_rule(strokeWidth=2, color=theme.MUTED).encode(
            y=down, x=alt.X("lo:Q", title="Score a question"), x2="hi:Q"
        ),
        chart.mark_circle(size=90, opacity=1).encode(
            y=down,
            x="score:Q",
            color=alt.Color("coverage:Q", title="Answered", legend=alt.Legend(format="%")),
        ),
    ]
    return _png(alt.layer(*layers).properties(width=420, height=26 * len(table)))


def risk_coverage(table: pd.DataFrame) -> bytes:
    """Risk over coverage, a colour a detector.

    Args:
      table: detector, coverage, risk.
    """
    names = table["detector"].drop_duplicates().tolist()
    table = pd.DataFrame(table[table["coverage"] >= FEWEST])
    chart = (
        alt.Chart(table)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("coverage:Q", title="Share of questions answered", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("risk:Q", title="Share of answers that is wrong", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("detector:N", title=None, sort=names),
        )
    )
    return _png(chart.properties(width=420, height=300))


def _png(chart: Any) -> bytes:
    config = theme.config()
    config["title"] = {"anchor": "start", "fontSize": 13, "fontWeight": 600, "color": theme.INK, "offset": 12}
    return theme.png(chart.configure(**config).to_dict(validate=False))
