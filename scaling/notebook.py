"""What a notebook shows of runs, fits and frontiers: a short table in HTML, or a small chart of altair's."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

WIDTH, HEIGHT = 420, 260  # pixels
MOST_POINTS = 2000  # of a chart: more are thinned evenly
MOST_NOTES = 5
# In the words of the report's page.
TITLES = {"flops": "Training compute C, FLOPs", "n_params": "Parameters N", "loss": "Loss"}
BILLIONS = "replace(format(datum.value, '~s'), 'G', 'B')"


def html(caption: str, rows: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> str:
    """A caption, a table with a row each, and the first notes below it."""
    shown = [
        *notes[:MOST_NOTES],
        *([f"and {len(notes) - MOST_NOTES} more"] if len(notes) > MOST_NOTES else []),
    ]
    below = "".join(f"<br>{escape(note)}" for note in shown)
    table = pd.DataFrame(rows).to_html(index=False, border=0)
    return f"<div><p>{escape(caption)}</p>{table}<small>{below.removeprefix('<br>')}</small></div>"


def with_interval(numbers: Sequence[float], digits: int) -> str:
    """A number, and its interval where it is known, of (value, lo, hi)."""
    value, lo, hi = numbers
    return f"{value:.{digits}g}" + (f" [{lo:.{digits}g}, {hi:.{digits}g}]" if lo == lo and hi == hi else "")


def points_and_line(points: pd.DataFrame, line: pd.DataFrame | None = None) -> Any:
    """Loss against compute: runs (flops, loss, n_params if known), and a line (flops, loss, lo, hi)."""
    import altair as alt

    points = points.iloc[:: -(-len(points) // MOST_POINTS)]
    dots = (
        alt.Chart(points)
        .mark_circle(size=45, opacity=0.8)
        .encode(x=_axis("flops", True), y=_axis("loss", False))
    )
    if "n_params" in points:
        legend = alt.Legend(title=TITLES["n_params"], labelExpr=BILLIONS)
        scale = alt.Scale(type="log", scheme="viridis", reverse=True)
        dots = dots.encode(color=alt.Color("n_params:Q", scale=scale, legend=legend))
    dots = dots.encode(tooltip=[alt.Tooltip(str(name), format=".4~g") for name in points])
    return _sized(dots if line is None else alt.layer(*_band(line, "loss", False), dots))


def frontier_chart(frontier: pd.DataFrame) -> Any:
    """Best size and loss against compute, side by side: flops; n_params and loss with their _lo and _hi."""
    import altair as alt

    sides = [("n_params", True), ("loss", False)]
    return alt.hconcat(*[_sized(alt.layer(*_band(frontier, *side, prefix=f"{side[0]}_"))) for side in sides])


def _band(line: pd.DataFrame, name: str, log: bool, prefix: str = "") -> list[Any]:
    """A line of `name` against flops and its interval; of one row, a point."""
    import altair as alt

    base = alt.Chart(line).encode(x=_axis("flops", True))
    ends = {"y": _axis(name, log, f"{prefix}lo"), "y2": f"{prefix}hi:Q"}
    middle = base.encode(y=_axis(name, log))
    if len(line) == 1:
        return [base.mark_rule().encode(**ends), middle.mark_circle(size=60)]
    return [base.mark_area(opacity=0.15).encode(**ends), middle.mark_line(strokeWidth=2)]


def measured_chart(points: pd.DataFrame) -> Any:
    """Measured against predicted; on the diagonal the law is right."""
    import altair as alt

    ends = [points.min().min(), points.max().max()]
    diagonal = alt.Chart(pd.DataFrame({"predicted": ends, "measured": ends})).mark_line(color="#bbb")
    dots = alt.Chart(points).mark_circle(size=45, opacity=0.8)
    free = alt.Scale(zero=False)
    x, y = (
        alt.X("predicted:Q", scale=free, title="By the law"),
        alt.Y("measured:Q", scale=free, title="Measured"),
    )
    return _sized(alt.layer(diagonal.encode(x=x, y=y), dots.encode(x=x, y=y)))


def _axis(name: str, log: bool, field: str = "") -> Any:
    """The horizontal axis of flops, the vertical one of `name`, which `field` may be an end of."""
    import altair as alt

    across, title = name == "flops", TITLES[name]
    words = {"format": ".0e"} if across else {"labelExpr": BILLIONS} if name == "n_params" else {}
    scale = alt.Scale(type="log", nice=False, padding=6) if log else alt.Scale(zero=False)
    calm = {
        "tickCount": 5,
        "ticks": False,
        "grid": not across,
        "gridOpacity": 0.5,
        "titleFontWeight": "normal",
    }
    kind, axis = alt.X if across else alt.Y, alt.Axis(**calm, **words)  # type: ignore[arg-type]
    return kind(f"{field or name}:Q", title=title, scale=scale, axis=axis)


def _sized(chart: Any) -> Any:
    return chart.properties(width=WIDTH, height=HEIGHT)
