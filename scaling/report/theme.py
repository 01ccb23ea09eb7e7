"""How every figure looks: colours from page.css, number labels, axes, and a chart as PNG and PDF.

A chart says its colours as `var(--name)`. In the page the browser resolves them, so one chart serves light,
dark and print; for PNG and PDF they are replaced by the light values of page.css.
"""

import json
import math
import re
from collections.abc import Collection
from functools import cache
from importlib import resources
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

PNG_WIDTH = 800  # CSS pixels; written at twice the resolution
PDF_WIDTH = 560  # CSS pixels; 420 points
RAMP = 10  # colours --ramp-0 … --ramp-9 of page.css, from small to large
STAR = "M0,-1L.29,-.4L.95,-.31L.48,.15L.59,.81L0,.5L-.59,.81L-.48,.15L-.95,-.31L-.29,-.4Z"
TIPS = {
    "run_id": ("Run", None), "stage": ("Stage", None), "kind": ("What", None),
    "n_params": ("Parameters N", ".4~s"),
    "n_tokens": ("Tokens D", ".4~s"), "flops": ("FLOPs C", ".3~e"), "loss": ("Loss", ".4f"),
    "lr": ("Learning rate", ".3~g"), "predicted": ("By the law", ".4f"), "residual": ("Residual, %", "+.2f"),
    "batch_tokens": ("Batch, tokens", ".4~s"), "excess": ("Above the optimum, %", ".2f"),
    "law": ("Law", None), "error": ("Error, %", "+.2f"),
    "ratio": ("Times the compute", ".3~g"),
    "n_answer": ("Tokens of an answer", ".4~g"), "exact_match": ("Exact match", ".4f"),
    "token_accuracy": ("Token accuracy", ".4f"), "brier": ("Brier score", ".4f"), "place": ("Where", None),
    "lo": ("Interval from", ".4~g"), "hi": ("to", ".4~g"), "final": ("Final loss", ".4f"),
    "name": ("Name", None), "share": ("Share", ".3~%"), "web": ("Of Common Crawl", ".3~%"),
    "speakers": ("Speakers, millions", ".4~g"), "documents": ("Documents", ","),
    "tokens_per_sentence": ("Tokens a sentence", ".4~g"), "vocabulary": ("Vocabulary", None),
    "recipe": ("Recipe", None), "gain": ("Gain in compute, ×", ".3~g"),
    "loss_a": ("Loss of the first", ".4f"), "loss_b": ("Loss", ".4f"),
}  # fmt: skip
SHOWN = {
    *TIPS,
    "family",
    "worth",
    "worth_lo",
    "worth_hi",
    "size",
    "budget",
    "at_edge",
    "n_lo",
    "n_hi",
    "n_params_lo",
    "n_params_hi",
    "measured",
    "fraction",
    "broken",
    "objective",
    "words",
    "lo_percent",
    "hi_percent",
    "edge",
    "rank",
    "inside",
    "cell",
    "axis",
    "best",
}
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"

INK, MUTED, ACCENT, VERIFY = "var(--ink)", "var(--muted)", "var(--accent)", "var(--verify)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
STAGES = {  # what a stage is called, its colour and its shape; in the order of a study
    "tune": ("learning-rate sweep", "var(--faint)", "diamond"),
    "refine": ("rates refined", "var(--muted)", "diamond"),
    "run": ("run", ACCENT, "circle"),
    "grid": ("IsoFLOP grid", ACCENT, "circle"),
    "extend": ("grid, extended", ACCENT, "square"),
    "verify": ("verification run", VERIFY, STAR),
}


def stages(table: pd.DataFrame) -> list[str]:
    """The stages in the table: known ones in the order of a study, then those of a user's own study."""
    there = list(table["stage"].unique())
    return [name for name in STAGES if name in there] + [name for name in there if name not in STAGES]


def of_stage(table: pd.DataFrame, *names: str) -> np.ndarray:
    """Which rows belong to one of these stages."""
    return table["stage"].isin(names).to_numpy()


def is_done(table: pd.DataFrame) -> np.ndarray:
    """Which rows are finished runs, not diverged ones."""
    return (table["status"] == "done").to_numpy()


@cache
def text(name: str) -> str:
    """A file of this package (page.html, page.css, page.js)."""
    return resources.files("scaling.report").joinpath(name).read_text(encoding="utf-8")


@cache
def light_colours() -> dict[str, str]:
    """Colour variables of page.css as the light page shows them: name -> #rrggbb."""
    return dict(re.findall(r"--([\w-]+): light-dark\((#\w+), #\w+\)", text("page.css")))


def ramp(n: int) -> list[str]:
    """`n` colours from small to large, evenly spaced over the ramp."""
    return [f"var(--ramp-{round(i * (RAMP - 1) / max(n - 1, 1))})" for i in range(n)]


def si(value: float, digits: int = 3) -> str:
    """A count for people: 34900 -> "34.9k", 1.2e9 -> "1.2B"."""
    if value == 0 or not math.isfinite(value):
        return str(value)
    value = float(f"{value:.{digits}g}")
    power = min(max(math.floor(math.log10(abs(value)) / 3), 0), 4)
    return f"{value / 1000**power:.6g}" + ("", "k", "M", "B", "T")[power]


def sci(value: float, digits: int = 2) -> str:
    """A compute or a rate for people: 2.6e12 -> "2.6×10¹²"."""
    if value == 0 or not math.isfinite(value):
        return str(value)
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = ("⁻" if int(exponent) < 0 else "") + "".join(
        SUPERSCRIPTS[int(d)] for d in str(abs(int(exponent)))
    )
    return f"10{power}" if mantissa == "1" else f"{mantissa}×10{power}"


def e_notation(value: float) -> str:
    """A compute for axes and tables, in characters every font has: 3e10, 2.8e12."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def plain(value: float) -> str:
    """A loss or a rate as it is: 2.25, 0.003."""
    return f"{value:.6g}"


def four(value: float) -> str:
    """A parameter to four digits, without an exponent as long as it is readable: 12850, 0.3473."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.4g}"


def signed(value: float) -> str:
    """A difference with its sign: +0.5, −2, 0."""
    return f"{value:+.6g}".replace("-", "−") if value else "0"


def thinned(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, evenly taken: a browser draws no more in a moment, and a reader sees no more."""
    return table.iloc[:: -(-len(table) // most)] if len(table) > most else table


def records(table: pd.DataFrame, shown: Collection[str] = SHOWN) -> list[dict[str, Any]]:
    """Columns `shown` as JSON: 6 significant digits are enough to draw; what is not finite becomes null."""
    rows = table.to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items() if name in shown} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, np.bool_, str)):
        return value if isinstance(value, str) else bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, list):
        return value
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else None


def log_ticks(low: float, high: float) -> list[float]:
    """Round values that cover [low, high] on a logarithmic axis."""
    decades = np.log10(high / low)
    if decades < 0.5:
        return linear_ticks(low, high)
    steps = (
        (1,)
        if decades > 4
        else (1, 3)
        if decades > 1.6
        else (1, 2, 5)
        if decades > 1
        else (1, 1.5, 2, 3, 5, 7)
    )
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = math.ceil(decades / 8) if decades > 8 else 1
    ticks = [s * 10.0**p for p in powers if p % every == 0 for s in steps]
    return [float(f"{t:.3g}") for t in ticks if low <= t <= high]


def linear_ticks(low: float, high: float, about: int = 7) -> list[float]:
    """Round, evenly spaced values inside [low, high]."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough)
    return [round(i * step, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def scale(values: Any, *, log: bool = True, pad: float = 0.04, label=si) -> tuple[alt.Scale, dict[str, Any]]:
    """Scale and axis settings that hold all finite `values` with a margin.

    Labels are made here, not by the browser, so page and PNG agree and exponents are real ones.

    Args:
      values: numbers; of a logarithmic axis those above 0 count.
      log: whether the axis is logarithmic.
      pad: margin at either end, as a share of the axis.
      label: value -> text of a tick.
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    low, high = (values.min(), values.max()) if len(values) else (1.0, 10.0)
    if log:
        margin = max((high / low) ** pad, 1.02)
        low, high = low / margin, high * margin
        ticks = log_ticks(low, high)
    else:
        margin = max((high - low) * pad, 1e-6 * max(abs(high), 1e-6))
        low, high = low - margin, high + margin
        ticks = linear_ticks(low, high)
    names = json.dumps([label(tick) for tick in ticks], ensure_ascii=False)
    axis = {"values": ticks, "labelExpr": f"{names}[indexof({json.dumps(ticks)}, datum.value)]"}
    kind: dict[str, Any] = {"type": "log"} if log else {"type": "linear", "zero": False}
    return alt.Scale(**kind, domain=[low, high], nice=False), axis


def x(field: str, title: str, values: Any, **options: Any) -> alt.X:
    """Horizontal axis over `values`."""
    settings, axis = scale(values, **options)
    return alt.X(f"{field}:Q", title=title, scale=settings, axis=alt.Axis(grid=False, **axis))


def y(field: str, title: str, values: Any, **options: Any) -> alt.Y:
    """Vertical axis over `values`; its title is written above it, readable without turning the head."""
    settings, axis = scale(values, **options)
    turned = {"titleAngle": 0, "titleAlign": "left", "titleAnchor": "start", "titleX": 0, "titleY": -10}
    return alt.Y(f"{field}:Q", title=title, scale=settings, axis=alt.Axis(**turned, **axis))


def tips(table: pd.DataFrame, *names: str) -> list[alt.Tooltip]:
    """Tooltip lines for those of the columns that the table has."""
    lines = []
    for name in names:
        if name in table:
            title, number = TIPS[name]
            lines.append(
                alt.Tooltip(f"{name}:Q", title=title, format=number)
                if number
                else alt.Tooltip(f"{name}:N", title=title)
            )
    return lines


def groups(
    table: pd.DataFrame, field: str, title: str, by: str, lines: bool = False, most: int = 7
) -> alt.Color:
    """Colour by the labels in a column.

    Args:
      table: has the columns `field` (labels) and `by` (the number that orders them).
      title: of the legend, which names at most `most` of them.
      lines: whether the legend shows lines, not points.
    """
    order = list(table.sort_values(by)[field].drop_duplicates())
    shown = order
    if len(order) > most:
        shown = [order[round(i * (len(order) - 1) / (most - 1))] for i in range(most)]
    symbol: dict[str, Any] = (
        {"symbolType": "stroke", "symbolStrokeWidth": 3} if lines else {"symbolType": "circle"}
    )
    legend = alt.Legend(title=title, values=shown, symbolOpacity=1, **symbol)
    return alt.Color(
        f"{field}:N", sort=order, scale=alt.Scale(domain=order, range=ramp(len(order))), legend=legend
    )


def config() -> dict[str, Any]:
    """Vega-Lite configuration of all figures."""
    words = {"labelColor": MUTED, "titleColor": MUTED, "labelFontSize": 12, "titleFontSize": 12}
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            **words, "titleFontWeight": 500, "gridColor": "var(--rule)", "domain": False, "ticks": False,
            "labelPadding": 8, "titlePadding": 10, "labelOverlap": "greedy",
        },
        "axisX": {"domain": True, "domainColor": "var(--line)", "ticks": True, "tickColor": "var(--line)",
                  "tickSize": 5, "labelPadding": 4},
        "legend": {
            **words, "orient": "top", "titleFontWeight": 500, "titleOrient": "left", "titlePadding": 12,
            "symbolSize": 90, "offset": 38, "columnPadding": 14, "labelLimit": 220,
        },
        "text": {"fill": INK, "fontSize": 12},
    }  # fmt: skip


def finish(layers: list[Any], tables: dict[str, pd.DataFrame], height: int = 340) -> dict[str, Any]:
    """The layers whose table has rows, as one Vega-Lite dict that fills its container's width."""
    filled = [layer for layer in layers if len(tables[layer.data.name])]
    spec = (
        alt.layer(*filled)
        .properties(width="container", height=height)
        .configure(**config())
        .to_dict(validate=False)
    )
    used = {layer.data.name for layer in filled}
    return spec | {
        "datasets": {table: records(tables[table]) for table in used},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 2, "right": 6, "top": 4, "bottom": 2},
    }


def png(spec: dict[str, Any], width: int = PNG_WIDTH) -> bytes:
    """The figure as PNG on white, in the colours of the light page."""
    return vl_convert.vegalite_to_png(_on_white(spec, width, 16), scale=2)


def pdf(spec: dict[str, Any]) -> bytes:
    """The figure as vector PDF for a paper: as wide as a text column, its fonts embedded."""
    return vl_convert.vegalite_to_pdf(_on_white(spec, PDF_WIDTH, 4))


def svg(spec: dict[str, Any]) -> str:
    """The figure as SVG, as wide as the PNG."""
    return vl_convert.vegalite_to_svg(_on_white(spec, PNG_WIDTH, 16))


def _on_white(spec: dict[str, Any], width: int, padding: int) -> str:
    colours = light_colours()
    fixed = json.dumps(
        spec | {"width": width, "background": "#ffffff", "padding": padding}, ensure_ascii=False
    )
    return re.sub(r"var\(--([\w-]+)\)", lambda match: colours[match[1]], fixed)


def warm_up() -> None:
    """Starts the drawing machinery, about a second, so that the first figure does not wait for it."""
    vl_convert.vegalite_to_svg({"mark": "point"})
