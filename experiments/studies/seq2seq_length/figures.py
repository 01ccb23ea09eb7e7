"""The figures of `seq2seq_length` as PNG, in the look of the report."""

from typing import Any

import altair as alt
import pandas as pd

from scaling.report import theme

WIDTH, HEIGHT, PANEL, CELL = 680, 340, 340, 30  # CSS pixels
COLOURS = (theme.ACCENT, theme.VERIFY)  # of a figure's two networks, in the order of the table
NOTE = {"align": "left", "dx": 6, "fill": theme.MUTED}
WORDS = {  # title and caption of each
    "accuracy": ("Accuracy by length", "Symbols right in greedy decoding: means over seeds, with intervals."),
    "speed": (
        "A training step by length",
        "Matrix products that wait for one another, and what a step takes.",
    ),
    "alignment": ("Attention of the encoder–decoder", "A row a symbol written, a column a symbol read."),
    "attention": (
        "Attention of the decoder",
        "A map a layer and head: a row a symbol, a column one before it.",
    ),
}
WEIGHT = alt.Scale(
    domain=[0, 0.5, 1], range=["var(--paper)", "var(--ramp-3)", "var(--ramp-8)"], interpolate="rgb"
)


def draw(
    summary: pd.DataFrame,
    trained: int,
    chance: float,
    steps: pd.DataFrame,
    alignment: pd.DataFrame,
    maps: pd.DataFrame,
) -> dict[str, bytes]:
    """PNG by name, from the tables of the study.

    Args:
      summary: accuracies by network and length.
      trained: the longest source that was trained on.
      chance: accuracy of guessing.
      steps: seconds of a training step by network and length.
      alignment, maps: attention weights, a row for each pair of symbols written and read.
    """
    charts = {
        "accuracy": accuracy(summary, trained, chance),
        "speed": speed(steps),
        "alignment": heat_map(alignment, CELL),
        "attention": attention(maps),
    }
    specs = {name: finished(chart) for name, chart in charts.items()}
    return {name: theme.png(spec, spec.get("width", theme.PNG_WIDTH)) for name, spec in specs.items()}


def finished(chart: Any) -> dict[str, Any]:
    """The spec with the looks of all figures."""
    config = theme.config()
    config["title"] = {"fontSize": 12, "fontWeight": 500, "color": theme.MUTED, "offset": 8}
    return chart.configure(**config).to_dict(validate=False)


def accuracy(summary: pd.DataFrame, trained: int, chance: float) -> Any:
    """Accuracy against length, mean over seeds and its interval, with chance and the longest trained on."""
    longest = max(summary["length"].tolist())
    lengths = alt.Scale(domain=[0, longest], nice=False)
    across = alt.X(
        "length:Q", title="Symbols in the source", scale=lengths, axis=alt.Axis(grid=False, tickCount=8)
    )
    up = theme.y("mean", "Symbols right in greedy decoding", [0, 1], log=False, pad=0, label=_percent)
    end = alt.Chart(pd.DataFrame([{"length": trained, "words": "longest trained on"}])).encode(x=across)
    luck = alt.Chart(pd.DataFrame([{"mean": chance, "length": longest, "words": "chance"}])).encode(y=up)
    table, colour = alt.Chart(summary).encode(x=across), by_network(summary)
    return alt.layer(
        end.mark_rule(stroke="var(--line)", strokeDash=[4, 4], strokeWidth=1.5),
        end.mark_text(**NOTE).encode(y=alt.value(0.87 * HEIGHT), text="words:N"),
        luck.mark_rule(stroke="var(--line)", strokeWidth=1.5),
        luck.mark_text(align="right", dy=-8, fill=theme.MUTED).encode(x=across, text="words:N"),
        table.mark_area(opacity=0.18).encode(y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q", color=colour),
        table.mark_line(strokeWidth=2, point={"size": 40, "opacity": 1}).encode(y=up, color=colour),
    ).properties(width=WIDTH, height=HEIGHT)


def speed(table: pd.DataFrame) -> Any:
    """A training step against length: matrix products that wait for one another, and milliseconds here, with
    bars from the fastest to the slowest repeat.
    """
    table = table.assign(**{name: 1000 * table[name] for name in ("seconds", "lo", "hi")})
    lengths = sorted(table["length"].unique())
    across = theme.x("length", "Symbols in the source, and in the target", lengths, label=theme.plain)
    across["axis"]["values"], across["axis"]["labelExpr"] = lengths, "datum.label"
    base = alt.Chart(table).encode(x=across, color=by_network(table))

    def line(up: alt.Y) -> Any:
        return base.mark_line(strokeWidth=2, point={"size": 40, "opacity": 1}).encode(y=up)

    chain = theme.y("products_in_line", "Matrix products one after another", table["products_in_line"])
    title, values = "Milliseconds a step, at equal FLOPs", [0, *table["hi"] * 1.05]
    time = theme.y("seconds", title, values, log=False, pad=0, label=theme.plain)
    bars = base.mark_rule(strokeWidth=5, opacity=0.3).encode(y=alt.Y("lo:Q", scale=time["scale"]), y2="hi:Q")
    panels = (line(chain), alt.layer(bars, line(time)))
    return alt.hconcat(*(panel.properties(width=PANEL, height=PANEL * 3 / 4) for panel in panels), spacing=48)


def by_network(table: pd.DataFrame) -> alt.Color:
    """Colour and legend of the networks, in their order in the table."""
    order = list(table["network"].drop_duplicates())
    legend = alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)
    return alt.Color("network:N", scale=alt.Scale(domain=order, range=list(COLOURS)), legend=legend)


def heat_map(table: pd.DataFrame, cell: int, title: str = "", legend: bool = True) -> Any:
    """Attention weights: a row for each symbol written, a column for each symbol that may be read.

    Args:
      table: columns t, s, written, read, weight.
      cell: pixels a cell.
      title: above the panel.
      legend: whether shades are explained.
    """
    shade = alt.Legend(title="Attention weight", gradientLength=120, format=".1f", orient="right",
                       titleOrient="top", offset=18) if legend else None  # fmt: skip
    return (
        alt.Chart(table, title=title)
        .mark_rect(stroke="var(--rule)", strokeWidth=0.5)
        .encode(
            x=alt.X("s:O", title="Read", axis=_letters(table, "s", "read", orient="top")),
            y=alt.Y("t:O", title="Written", axis=_letters(table, "t", "written")),
            color=alt.Color("weight:Q", scale=WEIGHT, legend=shade),
        )
        .properties(width=cell * table["s"].nunique(), height=cell * table["t"].nunique())
    )


def attention(maps: pd.DataFrame) -> Any:
    """A heat map for every layer and head."""
    rows = []
    for layer, of_layer in maps.groupby("layer"):
        heads = of_layer.groupby("head")
        rows.append(
            alt.hconcat(*(heat_map(m, 12, f"layer {layer}, head {head}", False) for head, m in heads))
        )
    return alt.vconcat(*rows)


def _letters(table: pd.DataFrame, place: str, name: str, **options: Any) -> alt.Axis:
    """An axis of places that shows the symbols there."""
    symbols = table.drop_duplicates(place).sort_values(place)[name].tolist()
    return alt.Axis(
        labelExpr=f"{symbols}[datum.value]",
        labelAngle=0,
        ticks=False,
        domain=False,
        labelOverlap=False,
        **options,
    )


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"
