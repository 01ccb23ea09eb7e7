"""One figure of any two columns of a table, coloured by a third."""

import re
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scaling.report.charts import chart
from scaling.report.page import Figure
from scaling.report.sections.families import COLOURS
from scaling.report.theme import (
    TIPS,
    e_notation,
    finish,
    groups,
    linear_ticks,
    log_ticks,
    plain,
    ramp,
    records,
    si,
    x,
    y,
)
from scaling.table.cell_values import is_given, numbers

FEW = 7  # colours of a legend: so many numbers have one each, more are put together in steps
ROOM = 80  # letters of all categories of an axis that stand upright
DECADE = 10.0  # an axis of positive numbers is logarithmic where they span so much


def scatter(table: pd.DataFrame, across: str, up: str, colour: str | None = None) -> Figure:
    """The rows as points. Axes of numbers that span a decade are logarithmic; of texts, categories.

    Rows without a finite number, or a text, on either axis are left out; the caption counts them.

    Args:
      table: one row a point.
      across, up, colour: names of columns; those of numbers may hold them as text.

    Raises:
      ValueError: no row has both.
    """
    used = dict.fromkeys(name for name in (across, up, colour) if name)
    cells = {name: _values(table[name]) for name in used}
    kept = np.ones(len(table), bool)
    for name in (across, up):
        kept &= np.isfinite(cells[name]) if _is_number(cells[name]) else cells[name] != ""
    if not kept.any():
        raise ValueError(f"none of {len(table)} rows has both {across} and {up}")
    about = {name: table[name] for name in ("run_id", "stage") if name in table and name not in used}
    drawn = pd.DataFrame(about | cells).loc[kept]
    fields = {name: re.sub(r"\W", "_", name) for name in drawn}
    drawn = drawn.rename(columns=fields)
    encoding = {
        "x": _axis(x, alt.X, drawn[fields[across]], _title(across)),
        "y": _axis(y, alt.Y, drawn[fields[up]], _title(up)),
        "tooltip": [alt.Tooltip(f"{field}:N", title=_title(name)) for name, field in fields.items()],
    }
    if colour:
        encoding["color"] = _colour(drawn, fields[colour], _title(colour))
    points = chart("runs").mark_point(filled=True, size=48, opacity=0.85).encode(**encoding)
    spec = finish([points], {"runs": drawn}, height=400)
    spec["datasets"] = {"runs": records(drawn, set(drawn))}
    n_out = int((~kept).sum())
    without = f"; {n_out} of {len(table)} without a finite value are left out" if n_out else ""
    title = f"{_title(up)} against {_title(across)}" + (f", by {_title(colour)}" if colour else "")
    return Figure("plot", title, f"{int(kept.sum())} points{without}.", spec)


def _values(column: Any) -> np.ndarray:
    """As numbers, where everything that is given is one; else as texts."""
    found = numbers(column)
    if not np.isnan(found[is_given(column)]).any():
        return found
    return np.where(is_given(column), column.astype(str), "")


def _is_number(values: Any) -> bool:
    return np.asarray(values).dtype.kind == "f"


def _is_log(values: np.ndarray) -> bool:
    return bool(values.min() > 0 and values.max() / values.min() >= DECADE)


def _title(name: str) -> str:
    return TIPS[name][0] if name in TIPS else name


def _axis(numeric: Any, nominal: Any, column: pd.Series, title: str) -> Any:
    field = str(column.name)
    if not _is_number(column):
        names = sorted(set(column))
        upright = sum(map(len, names)) < ROOM
        axis = alt.Axis(labelLimit=200, labelAngle=0 if upright else alt.Undefined)
        return nominal(f"{field}:N", title=title, sort=names, axis=axis)
    values = column.to_numpy(float)
    label = e_notation if "flop" in field.lower() else si if values.max() >= 1e4 else plain
    return numeric(field, title, values, log=_is_log(values), label=label)


def _colour(table: pd.DataFrame, field: str, title: str) -> alt.Color:
    """A few numbers from small to large, many in steps, for which the table gets a column; texts as
    categories."""
    values = table[field].to_numpy()
    if not _is_number(values):
        names = sorted(set(values))
        colours = list(COLOURS[: len(names)]) if len(names) <= len(COLOURS) else ramp(len(names))
        legend = alt.Legend(title=title, symbolType="circle", symbolOpacity=1, columns=6)
        return alt.Color(f"{field}:N", scale=alt.Scale(domain=names, range=colours), legend=legend)
    finite = values[np.isfinite(values)]
    if len(set(finite)) <= FEW:
        return groups(pd.DataFrame({field: values}).dropna(), field, title, by=field)
    # In steps, as a browser cannot mix colours that are variables.
    low, high = float(finite.min()), float(finite.max())
    ticks = (log_ticks if _is_log(finite) else linear_ticks)(low, high)
    edges = ticks[:: -(-len(ticks) // (FEW - 1))]
    label = si if high >= 1e4 else plain
    words = [f"below {label(edges[0])}", *(f"from {label(edge)}" for edge in edges)]
    place = np.searchsorted(edges, finite, side="right")
    table["step"] = pd.Series([words[k] for k in place], table.index[np.isfinite(values)])
    ordered = pd.DataFrame({"step": words, "place": range(len(words))}).iloc[sorted(set(place))]
    return groups(ordered, "step", title, by="place")
