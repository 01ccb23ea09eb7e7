"""The pictures of the studies of pretraining, as PNG."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

import scaling
from experiments.studies.data.figures import by_size, finished
from scaling.hparams.critical_batch import trade_off as hyperbola
from scaling.profiles.parabola import Parabola
from scaling.report import theme

WIDTH, HEIGHT = 300, 260  # of a panel, CSS pixels
TRADE_OFF = (
    "Steps and tokens to one loss, a colour a loss, a point a batch. Lines: (S / S_min - 1)(D / D_min - 1) = "
    "1 through them; where one bends is its critical batch."
)
CRITICAL = (
    "Left: critical batches by the tokens that small batches need, bars their intervals; the line is the law "
    "of all runs. Middle: the loss of the middle width by batch, a colour a number of tokens; lines are the "
    "law. Right: the best learning rate by batch."
)

SPARSITY = (
    "Left and middle: losses on the most tokens, a colour a width; lines are the law of all runs. Right: by "
    "the law, the loss of each number of experts at its own best size, over that of the dense model; rings "
    "are the best, dashed lines within a memory, for which experts are taken to be two thirds of a block."
)

PRECISION = (
    "Left: losses on the most tokens, a colour a width; lines are the law of all runs, 32 bits are no "
    "rounding. Right: the share of its parameters that a model of so many bits counts as, by the law."
)

WIDTH_DEPTH = (
    "Loss by width over depth, a colour a number of parameters in the blocks; a point a run, curves through "
    "their logarithms, bars the interval of the best."
)


def trade_off(points: pd.DataFrame, critical: pd.DataFrame) -> bytes:
    """Steps against tokens to equal loss, a panel a size, a colour a loss, with the hyperbolas through them.

    Args:
      points: n_params, target, batch_tokens, n_tokens, steps.
      critical: n_params, target, batch_tokens (the critical one), least_steps.
    """
    panels = []
    for n_params in np.unique(points["n_params"].to_numpy(float)):
        own, lines = points.loc[points["n_params"] == n_params], []
        for row in critical.loc[critical["n_params"] == n_params].to_dict("records"):
            batch = np.geomspace(own["batch_tokens"].min() / 2, own["batch_tokens"].max() * 2, 60)
            steps, tokens = hyperbola(batch, row["batch_tokens"], row["least_steps"])
            lines.append(pd.DataFrame({"steps": steps, "n_tokens": tokens, "target": row["target"]}))
        law = pd.concat(lines).assign(loss=lambda table: table["target"].map("{:.3f}".format))
        own = own.assign(loss=own["target"].map("{:.3f}".format))
        colour = by_size("loss", "Loss reached", sorted(own["loss"].unique(), reverse=True))
        across = theme.x("steps", "Steps", own["steps"])
        up = theme.y("n_tokens", "Tokens", own["n_tokens"])
        base = alt.Chart(law).mark_line(strokeWidth=1.5, clip=True)
        panels.append(
            alt.layer(
                base.encode(x=across, y=up, color=colour, order="steps:Q"),
                alt.Chart(own)
                .mark_point(filled=True, size=45, opacity=1)
                .encode(x=across, y=up, color=colour),
            ).properties(width=WIDTH, height=HEIGHT, title=f"{theme.si(n_params)} parameters")
        )
    return finished(alt.hconcat(*panels).resolve_scale(color="independent"))


def critical_batch(critical: pd.DataFrame, table: pd.DataFrame, law: scaling.Fit, lr: pd.DataFrame) -> bytes:
    """The critical batch by tokens, the loss by batch, and the best rate by batch.

    Args:
      critical: n_params, least_tokens, batch_tokens, lo, hi.
      table: the runs: n_params, n_tokens, batch_tokens, loss.
      law: of size, tokens and batch.
      lr: batch_tokens, lr, lo, hi.
    """
    panels = {
        "Critical batch": _growth(critical, law),
        "Loss": _losses(table, law),
        "Best learning rate": _rates(lr),
    }
    each = (panel.properties(width=WIDTH, height=HEIGHT, title=name) for name, panel in panels.items())
    return finished(alt.hconcat(*each).resolve_scale(color="independent"))


def _growth(critical: pd.DataFrame, law: scaling.Fit) -> Any:
    sizes = [theme.si(n) for n in sorted(critical["n_params"].unique())]
    tokens = np.geomspace(critical["least_tokens"].min() / 1.5, critical["least_tokens"].max() * 1.5, 40)
    names = list(law.params)
    b, kappa = (law.samples[:, names.index(name)] for name in ("b", "kappa"))
    lo, hi = np.quantile(b * tokens[:, None] ** kappa, [(1 - law.level) / 2, (1 + law.level) / 2], axis=1)
    line = law.params["b"] * tokens ** law.params["kappa"]
    band = pd.DataFrame({"least_tokens": tokens, "batch_tokens": line, "lo": lo, "hi": hi})
    seen = np.array([*critical["batch_tokens"], *line])
    up = theme.y("batch_tokens", "Critical batch, tokens", [seen.min() / 2, seen.max() * 2])
    low, high = up["scale"]["domain"]
    across = theme.x("least_tokens", "Tokens that small batches need", tokens)
    own = critical.assign(size=[theme.si(n) for n in critical["n_params"]])
    own = own.assign(lo=own["lo"].clip(low, high), hi=own["hi"].clip(low, high))
    colour = by_size("size", "Parameters", sizes)
    ends = {"y": alt.Y("lo:Q", scale=up["scale"]), "y2": "hi:Q"}
    area = alt.Chart(band.assign(lo=band["lo"].clip(low, high), hi=band["hi"].clip(low, high)))
    return alt.layer(
        area.mark_area(opacity=0.15, color=theme.VERIFY).encode(x=across, **ends),
        alt.Chart(band).mark_line(color=theme.VERIFY, strokeWidth=1.5, clip=True).encode(x=across, y=up),
        alt.Chart(own).mark_rule(strokeWidth=1.5).encode(x=across, color=colour, **ends),
        alt.Chart(own).mark_point(filled=True, size=45, opacity=1).encode(x=across, y=up, color=colour),
    )


def _losses(table: pd.DataFrame, law: scaling.Fit) -> Any:
    """The loss of the middle size by batch."""
    sizes = sorted(table["n_params"].unique())
    n_params = sizes[len(sizes) // 2]
    own = table[table["n_params"] == n_params]
    own = own.assign(tokens=[theme.si(n) for n in own["n_tokens"]])
    order = list(own.sort_values("n_tokens")["tokens"].drop_duplicates())
    batch = np.geomspace(own["batch_tokens"].min(), own["batch_tokens"].max(), 40)
    lines = [
        pd.DataFrame(
            {
                "batch_tokens": batch,
                "tokens": theme.si(n),
                "loss": law.predict(n_params, n, batch_tokens=batch).loss,
            }
        )
        for n in sorted(own["n_tokens"].unique())
    ]
    colour = by_size("tokens", "Tokens", order)
    across = theme.x("batch_tokens", "Batch, tokens", batch)
    up = theme.y("loss", "Loss, nats per token", own["loss"], label=theme.plain)
    return alt.layer(
        alt.Chart(pd.concat(lines))
        .mark_line(strokeWidth=1.5, clip=True)
        .encode(x=across, y=up, color=colour),
        alt.Chart(own).mark_point(filled=True, size=45, opacity=1).encode(x=across, y=up, color=colour),
    )


def _rates(lr: pd.DataFrame) -> Any:
    across = theme.x("batch_tokens", "Batch, tokens", lr["batch_tokens"])
    up = theme.y("lr", "Best learning rate", [*lr["lo"], *lr["hi"]], label=theme.plain)
    base = alt.Chart(lr.assign(shape=np.where(lr["at_edge"], "only a bound", "best")))
    shape = alt.Shape(
        "shape:N", title=None, scale=alt.Scale(domain=["best", "only a bound"], range=["circle", "triangle"])
    )
    return alt.layer(
        base.mark_rule(color=theme.MUTED, strokeWidth=1.5).encode(
            x=across, y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q"
        ),
        base.mark_point(filled=True, size=50, color=theme.INK, opacity=1).encode(x=across, y=up, shape=shape),
    )


def sparsity(table: pd.DataFrame, law: scaling.Fit, best: pd.DataFrame, expansions: Sequence[int]) -> bytes:
    """Loss by expansion and by granularity, and what each expansion gains at a budget.

    Args:
      table: the runs: n_active, n_tokens, d_model, expansion, granularity, loss.
      law: of sparsity.
      best: flops, memory, expansion, losses.
      expansions: of `losses`.
    """
    sparse = table.loc[table["expansion"] > 1]
    common = {name: sparse[name].mode().iloc[0] for name in ("expansion", "granularity")}
    longest = table.loc[table["n_tokens"] == table["n_tokens"].max()]
    dense = longest["expansion"] == 1
    by_number = longest.loc[dense | (longest["granularity"] == common["granularity"])]
    by_width = longest.loc[longest["expansion"] == common["expansion"]]
    panels = {
        f"Number of experts, granularity {common['granularity']:.0f}": _by_choice(
            by_number, law, "expansion", "All experts over a token's", common
        ),
        f"Width of experts, expansion {common['expansion']:.0f}": _by_choice(
            by_width, law, "granularity", "Dense width over an expert's", common
        ),
        "At a budget": _gains(best, expansions),
    }
    each = (panel.properties(width=WIDTH, height=HEIGHT, title=name) for name, panel in panels.items())
    return finished(alt.hconcat(*each).resolve_scale(color="independent"))


def _by_choice(own: pd.DataFrame, law: scaling.Fit, name: str, title: str, common: dict[str, float]) -> Any:
    """Measured losses and the law's by one column, a colour a width; common: other columns of the law."""
    size = "n_active" if common else "n_params"
    values, lines = np.geomspace(own[name].min(), own[name].max(), 40), []
    widths = [str(width) for width in sorted(own["d_model"].unique())]
    for width in widths:
        rows = own.loc[own["d_model"].astype(str) == width].sort_values(name)
        sizes = np.interp(values, rows[name], rows[size])  # routers of more experts have more
        columns = common | {size: sizes, "n_tokens": rows["n_tokens"].iloc[0]}
        loss = law.predict(**{**columns, name: values}).loss
        lines.append(pd.DataFrame({name: values, "loss": loss, "width": width}))
    points, colour = own.assign(width=own["d_model"].astype(str)), by_size("width", "Width", widths)
    across = theme.x(name, title, values, label=theme.plain)
    up = theme.y("loss", "Loss, nats per token", own["loss"], label=theme.plain)
    return alt.layer(
        alt.Chart(pd.concat(lines))
        .mark_line(strokeWidth=1.5, clip=True)
        .encode(x=across, y=up, color=colour),
        alt.Chart(points).mark_point(filled=True, size=45, opacity=1).encode(x=across, y=up, color=colour),
    )


def _gains(best: pd.DataFrame, expansions: Sequence[int]) -> Any:
    """Loss of each expansion at its best size over the dense model's, a colour a budget; rings: the best."""
    rows = []
    for row in best.to_dict("records"):
        limit = "no limit" if np.isinf(row["memory"]) else f"{row['memory']:g} dense models"
        for expansion, loss in zip(expansions, row["losses"]):
            gain = 100 * (loss / row["losses"][0] - 1)
            about = {"budget": theme.e_notation(row["flops"]), "memory": limit, "gain": gain}
            rows.append(about | {"expansion": expansion, "best": expansion == row["expansion"]})
    table = pd.DataFrame(rows).dropna()
    colour = by_size("budget", "FLOPs", list(table["budget"].drop_duplicates()))
    dash = alt.StrokeDash("memory:N", title="All parameters", sort=list(table["memory"].drop_duplicates()))
    across = theme.x("expansion", "All experts over a token's", expansions, label=theme.plain)
    up = theme.y("gain", "Loss above the dense model's, %", table["gain"], log=False, label=theme.plain)
    base = alt.Chart(table).encode(x=across, y=up, color=colour)
    rings = base.transform_filter("datum.best").mark_point(size=90, strokeWidth=2)
    return alt.layer(base.mark_line(strokeWidth=1.5).encode(strokeDash=dash), rings)


def precision(table: pd.DataFrame, law: scaling.Fit, counts_as: list[dict[str, float]]) -> bytes:
    """Loss by bits, and what a parameter of so many bits counts as.

    Args:
      table: the runs: n_params, n_tokens, d_model, weight_bits, loss.
      law: of precision.
      counts_as: weight_bits, share, lo, hi.
    """
    longest, shares = table.loc[table["n_tokens"] == table["n_tokens"].max()], pd.DataFrame(counts_as)
    up = theme.y("share", "Counts as", [0, 1], log=False, label=theme.plain)
    base = alt.Chart(shares).encode(
        x=theme.x("weight_bits", "Bits of a weight", shares["weight_bits"], label=theme.plain)
    )
    share = alt.layer(
        base.mark_rule(color=theme.VERIFY, strokeWidth=2).encode(
            y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q"
        ),
        base.mark_point(filled=True, size=45, color=theme.INK, opacity=1).encode(y=up),
    )
    panels = {"Loss": _by_choice(longest, law, "weight_bits", "Bits of a weight", {}), "A parameter": share}
    each = (panel.properties(width=WIDTH, height=HEIGHT, title=name) for name, panel in panels.items())
    return finished(alt.hconcat(*each).resolve_scale(color="independent"))


def width_depth(table: pd.DataFrame, curves: Sequence[Parabola], best: Sequence[dict[str, Any]]) -> bytes:
    """Loss by width over depth.

    Args:
      table: the runs: n_blocks, aspect, loss.
      curves: of log loss by log aspect, one for each of `best`.
      best: n_blocks, aspect, lo, hi, loss.
    """
    sizes = [theme.si(row["n_blocks"]) for row in best]
    aspect, lines = np.geomspace(table["aspect"].min(), table["aspect"].max(), 60), []
    for size, curve in zip(sizes, curves):
        loss = np.exp(np.polyval(curve.curve, np.log(aspect)))
        lines.append(pd.DataFrame({"aspect": aspect, "loss": loss, "size": size}))
    ends = pd.DataFrame(best).assign(size=sizes)
    ends = ends.assign(lo=ends["lo"].clip(aspect[0], aspect[-1]), hi=ends["hi"].clip(aspect[0], aspect[-1]))
    colour = by_size("size", "Parameters of the blocks", sizes)
    across = theme.x("aspect", "Width over depth", aspect, label=theme.plain)
    up = theme.y("loss", "Loss, nats per token", table["loss"], label=theme.plain)
    points = alt.Chart(table.assign(size=[theme.si(n) for n in table["n_blocks"]]))
    bars = alt.Chart(ends).mark_rule(strokeWidth=5, opacity=0.45)
    chart = alt.layer(
        alt.Chart(pd.concat(lines))
        .mark_line(strokeWidth=1.5, clip=True)
        .encode(x=across, y=up, color=colour),
        bars.encode(x=alt.X("lo:Q", scale=across["scale"]), x2="hi:Q", y=up, color=colour),
        points.mark_point(filled=True, size=36, opacity=1).encode(x=across, y=up, color=colour),
    )
    return finished(chart.properties(width=1.6 * WIDTH, height=HEIGHT))
