"""The figures, each a Vega-Lite dict from plain tables (tables.py); looks are in theme.py.

Tables stand in the spec under a name, and layers are named: whoever reads the SVG finds the marks of layer
`runs` in the class `runs_marks`.
"""

import json
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scaling.report.theme import (
    ACCENT,
    INK,
    STAGES,
    STAR,
    VERIFY,
    e_notation,
    finish,
    groups,
    is_done,
    plain,
    ramp,
    signed,
    stages,
    tips,
    x,
    y,
)

LOSS = "Loss, nats per token"
COMPUTE = "Training compute C, FLOPs"
MOST_GAIN = 10.0  # as far as the axis of a recipe's gain goes
FAR = 3.0  # intervals that reach further than this factor beyond all sizes are cut off
CROSS = "M-.7,-.7L.7,.7M-.7,.7L.7,-.7"
HOLLOW = {"stroke": INK, "fill": "var(--paper)", "strokeWidth": 1.8, "opacity": 1}
BAND = {"fill": ACCENT, "fillOpacity": 0.14, "opacity": 1, "clip": True}
LINE = {"stroke": ACCENT, "strokeWidth": 2, "clip": True}
RUN_TIPS = ("run_id", "stage", "n_params", "n_tokens", "flops", "lr", "loss", "predicted", "residual")


def chart(table: str, name: str = "") -> alt.Chart:
    """A layer on the spec's table `table`, whose marks are found as `name`."""
    return alt.Chart(alt.NamedData(name=table), name=name or table)


def _run_points(table: pd.DataFrame, across: alt.X, up: alt.Y, size: int = 36) -> alt.Chart:
    """Runs as points, distinguished by stage in colour and in shape; the verification run is a star."""
    present = stages(table)
    looks = [STAGES.get(name, (name, ACCENT, "circle")) for name in present]
    words = json.dumps({name: look[0] for name, look in zip(present, looks)})
    legend = alt.Legend(title=None, labelExpr=f"{words}[datum.value]") if len(present) > 1 else None
    colours = alt.Scale(domain=present, range=[look[1] for look in looks])
    shapes = alt.Scale(domain=present, range=[look[2] for look in looks])
    return (
        chart("runs")
        .mark_point(filled=True, fillOpacity=0.85, opacity=1)
        .encode(
            x=across,
            y=up,
            color=alt.Color("stage:N", legend=legend, scale=colours),
            shape=alt.Shape("stage:N", legend=legend, scale=shapes),
            size=alt.condition("datum.stage == 'verify'", alt.value(280), alt.value(size)),
            tooltip=tips(table, *RUN_TIPS),
        )
    )


def edge_shape() -> Any:
    """A diamond, or a triangle for what lies at the edge of what was tried."""
    return alt.condition("datum.at_edge", alt.value("triangle-up"), alt.value("diamond"))


def _faded(field: str) -> tuple[alt.Parameter, Any]:
    """A selection by clicking the legend of `field`, and the opacity that follows it."""
    pick = alt.selection_point(fields=[field], bind="legend", name="pick")
    return pick, alt.condition(pick, alt.value(1), alt.value(0.12))


def frontier_loss(runs: pd.DataFrame, frontier: pd.DataFrame, forecast: pd.DataFrame) -> dict[str, Any]:
    """Loss against compute: every run, the law's compute-optimal loss with its interval, the forecast."""
    across = x("flops", COMPUTE, [*runs["flops"], *frontier["flops"]], label=e_notation, pad=0)
    up = y("loss", LOSS, [*runs["loss"], *frontier["lo"]], label=plain)
    band, ahead = chart("frontier", "band").encode(x=across), chart("forecast", "interval").encode(x=across)
    between = {"y": alt.Y("lo:Q", scale=up["scale"]), "y2": "hi:Q"}
    layers = [
        band.mark_area(**BAND).encode(**between),
        chart("frontier").mark_line(**LINE).encode(x=across, y=up),
        ahead.mark_rule(stroke=VERIFY, strokeWidth=2).encode(**between),
        chart("forecast")
        .mark_point(shape="stroke", stroke=VERIFY, strokeWidth=2, size=420, opacity=1)
        .encode(x=across, y=up, tooltip=tips(forecast, "flops", "loss", "lo", "hi")),
        _run_points(runs, across, up),
        chart("forecast", "words")
        .mark_text(
            align="right",
            baseline="top",
            dx=-14,
            dy=12,
            fontSize=13,
            fontWeight=600,
            lineHeight=18,
            fill=VERIFY,
        )
        .encode(x=across, y=up, text="words:N"),
    ]
    return finish(layers, {"runs": runs, "frontier": frontier, "forecast": forecast}, height=440)


def frontier_params(frontier: pd.DataFrame, optima: pd.DataFrame) -> dict[str, Any]:
    """Compute-optimal parameters against compute: the law with its interval, and `optima` by `kind`
    (minima of the profiles with their intervals, the verification run)."""
    best = np.array([*frontier["n_params"], *optima["n_params"]])
    ends = np.array([*frontier["n_lo"], *frontier["n_hi"], *optima["n_params_lo"], *optima["n_params_hi"]])
    sizes = [*best, *np.clip(ends, best.min() / FAR, best.max() * FAR)]
    across = x("flops", COMPUTE, frontier["flops"], label=e_notation, pad=0)
    up = y("n_params", "Compute-optimal parameters N*", sizes, pad=0)
    band, reach = chart("frontier", "band").encode(x=across), chart("optima", "reach").encode(x=across)
    looks = {
        "profile minimum": ("diamond", INK),
        "minimum at the edge": ("triangle-up", INK),
        "verification run": (STAR, VERIFY),
    }
    kinds = [kind for kind in looks if kind in set(optima["kind"])]
    shapes, colours = [looks[kind][0] for kind in kinds], [looks[kind][1] for kind in kinds]
    layers = [
        band.mark_area(**BAND).encode(y=alt.Y("n_lo:Q", scale=up["scale"]), y2="n_hi:Q"),
        chart("frontier").mark_line(**LINE).encode(x=across, y=up),
        reach.mark_rule(stroke=INK, strokeWidth=1.5, clip=True).encode(
            y=alt.Y("n_params_lo:Q", scale=up["scale"]), y2="n_params_hi:Q"
        ),
        chart("optima")
        .mark_point(filled=True, opacity=1)
        .encode(
            x=across,
            y=up,
            shape=alt.Shape(
                "kind:N", scale=alt.Scale(domain=kinds, range=shapes), legend=alt.Legend(title=None)
            ),
            color=alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=colours)),
            size=alt.condition("datum.kind == 'verification run'", alt.value(280), alt.value(70)),
            tooltip=tips(optima, "kind", "flops", "n_params", "n_tokens", "loss"),
        ),
    ]
    return finish(layers, {"frontier": frontier, "optima": optima})


def predicted_measured(runs: pd.DataFrame, forecast: pd.DataFrame) -> dict[str, Any]:
    """Measured against predicted loss; on the diagonal the law is right."""
    values = [*runs["loss"], *runs["predicted"], *forecast["lo"], *forecast["hi"]]
    across = x("predicted", "Loss by the law, nats per token", values, label=plain)
    up = y("loss", "Loss measured, nats per token", values, label=plain)
    ends = pd.DataFrame({"predicted": across["scale"]["domain"], "loss": up["scale"]["domain"]})
    layers = [
        chart("diagonal").mark_line(stroke="var(--line)", strokeWidth=1.5).encode(x=across, y=up),
        chart("forecast", "interval")
        .mark_rule(stroke=VERIFY, strokeWidth=2)
        .encode(x=alt.X("lo:Q", scale=across["scale"]), x2="hi:Q", y=alt.Y("measured:Q", scale=up["scale"])),
        _run_points(runs, across, up),
    ]
    return finish(layers, {"runs": runs, "diagonal": ends, "forecast": forecast})


def reach(values) -> float:
    """How far an axis of differences goes: to the largest, unless a few lie far out."""
    sizes = np.abs(np.asarray(values, float))
    sizes = sizes[np.isfinite(sizes)]
    return float(min(sizes.max(), 4 * np.quantile(sizes, 0.9))) or 1.0


def residuals(runs: pd.DataFrame, frontier: pd.DataFrame) -> dict[str, Any]:
    """How far each run lies from the law, in per cent of the law, against compute; `edge` is where a run that
    lies beyond the axis is drawn."""
    limit = max(runs["edge"].abs().max(), frontier[["lo_percent", "hi_percent"]].abs().max().max())
    across = x("flops", COMPUTE, frontier["flops"], label=e_notation, pad=0)
    up = y("edge", "Measured against the law, %", [-limit, limit], log=False, pad=0.06, label=signed)
    zero = pd.DataFrame({"edge": [0]})
    band = chart("frontier", "band").mark_area(**BAND)
    layers = [
        band.encode(x=across, y=alt.Y("lo_percent:Q", scale=up["scale"]), y2="hi_percent:Q"),
        chart("zero").mark_rule(stroke="var(--line)", strokeWidth=1.5).encode(y=up),
        _run_points(runs, across, up),
    ]
    return finish(layers, {"runs": runs, "zero": zero, "frontier": frontier})


def isoflop(
    runs: pd.DataFrame, curves: pd.DataFrame, minima: pd.DataFrame, frontier: pd.DataFrame
) -> dict[str, Any]:
    """Loss against parameters at fixed compute: runs, a curve in log N per budget, and its minimum.

    Args:
      runs: budget, budget_flops, n_params, loss, and what tips show.
      curves: budget, n_params, loss.
      minima: budget, flops, n_params, n_tokens, loss, at_edge.
      frontier: flops, n_params, loss; may be empty.
    """
    across = x("n_params", "Parameters N", [*curves["n_params"], *runs["n_params"]], pad=0.01)
    up = y("loss", LOSS, [*runs["loss"], *minima["loss"]], label=plain)
    colour = groups(runs, "budget", "Compute C, FLOPs", by="budget_flops")
    pick, opacity = _faded("budget")
    shared = {"x": across, "y": up, "opacity": opacity}
    optimum = chart("frontier").mark_line(
        stroke="var(--faint)", strokeDash=[2, 4], strokeWidth=1.8, clip=True
    )
    layers = [
        optimum.encode(x=across, y=up, order="flops:Q"),
        chart("curves").mark_line(strokeWidth=2, clip=True).encode(color=colour, **shared),
        chart("runs")
        .mark_point(filled=True, size=52)
        .encode(color=colour, tooltip=tips(runs, *RUN_TIPS), **shared)
        .add_params(pick),
        chart("minima")
        .mark_point(**HOLLOW, size=110)
        .encode(shape=edge_shape(), tooltip=tips(minima, "flops", "n_params", "n_tokens", "loss"), **shared),
    ]
    tables = {"runs": runs, "curves": curves, "minima": minima, "frontier": frontier}
    return finish(layers, tables, height=440)


def lr_sweep(runs: pd.DataFrame, curves: pd.DataFrame, optima: pd.DataFrame) -> dict[str, Any]:
    """Loss against learning rate at each size of the sweep; diverged runs are crosses along the top."""
    done, lost = runs.loc[is_done(runs)], runs.loc[~is_done(runs)]
    across = x("lr", "Learning rate", runs["lr"], label=plain)
    up = y("loss", LOSS, [*done["loss"], *optima["loss"]], label=plain, pad=0.08)
    colour = groups(runs, "size", "Parameters N", by="n_params")
    pick, opacity = _faded("size")
    shared = {"y": up, "opacity": opacity}
    reach = {"x": alt.X("lo:Q", scale=across["scale"]), "x2": "hi:Q"}
    layers = [
        chart("curves").mark_line(strokeWidth=2, clip=True).encode(x=across, color=colour, **shared),
        chart("runs")
        .mark_point(filled=True, size=52)
        .encode(x=across, color=colour, tooltip=tips(done, *RUN_TIPS[:7]), **shared)
        .add_params(pick),
        chart("optima", "reach").mark_rule(strokeWidth=1.8, clip=True, stroke=INK).encode(**reach, **shared),
        chart("optima")
        .mark_point(**HOLLOW, size=110)
        .encode(
            x=across,
            shape=edge_shape(),
            tooltip=tips(optima, "n_params", "lr", "lo", "hi", "loss"),
            **shared,
        ),
        chart("diverged")
        .mark_point(shape=CROSS, strokeWidth=2, size=80, filled=False)
        .encode(x=across, y=alt.value(6), color=colour, tooltip=tips(lost, *RUN_TIPS[:6]), opacity=opacity),
    ]
    return finish(layers, {"runs": done, "diverged": lost, "curves": curves, "optima": optima})


def lr_law(runs: pd.DataFrame, law: pd.DataFrame, optima: pd.DataFrame) -> dict[str, Any]:
    """The law of the learning rate: optima of the sweep, and the rates that later runs were given."""
    across = x("n_params", "Parameters N", [*law["n_params"], *runs["n_params"]], pad=0)
    up = y(
        "lr",
        "Learning rate",
        [*law["lo"], *law["hi"], *optima["lo"], *optima["hi"], *runs["lr"]],
        label=plain,
    )
    between = {"y": alt.Y("lo:Q", scale=up["scale"]), "y2": "hi:Q"}
    band, reach = chart("law", "band").encode(x=across), chart("optima", "reach").encode(x=across)
    layers = [
        band.mark_area(**BAND).encode(**between),
        chart("law").mark_line(**LINE).encode(x=across, y=up),
        _run_points(runs, across, up, size=26),
        reach.mark_rule(stroke=INK, strokeWidth=1.5).encode(**between),
        chart("optima")
        .mark_point(**HOLLOW, size=80)
        .encode(x=across, y=up, shape=edge_shape(), tooltip=tips(optima, "n_params", "lr", "lo", "hi")),
    ]
    return finish(layers, {"runs": runs, "law": law, "optima": optima})


def loss_curves(curves: pd.DataFrame) -> dict[str, Any]:
    """Training loss of every run against its compute so far; menus keep a stage or a size in colour."""
    across = x("flops", "Training compute so far, FLOPs", curves["flops"], label=e_notation, pad=0)
    up = y("loss", "Training loss, nats per token", curves["loss"], label=plain)
    hover = alt.selection_point(
        fields=["run_id"], on="pointerover", clear="pointerout", name="hover", empty=False
    )
    stage, size = _menu(curves, "stage", "Stage"), _menu(curves, "size", "Size")
    quiet = alt.value(alt.expr("datum.stage == 'tune' ? 0.3 : 0.9"))
    width = alt.value(alt.expr("datum.stage == 'verify' ? 2.4 : 1.3"))
    shared = {"x": across, "y": up, "detail": "run_id:N"}
    layers = [
        chart("curves")
        .mark_line(strokeJoin="round")
        .encode(
            color=groups(curves, "size", "Parameters N", by="n_params", lines=True),
            strokeWidth=alt.condition(hover, alt.value(3.5), width),
            strokeOpacity=alt.condition(stage & size, quiet, alt.value(0.05)),
            **shared,
        )
        .add_params(stage, size),
        chart("curves", "handles")  # wide enough to point at, and not seen
        .mark_line(strokeWidth=12, strokeOpacity=0)
        .encode(tooltip=tips(curves, "run_id", "stage", "n_params", "n_tokens", "final"), **shared)
        .add_params(hover),
    ]
    return finish(layers, {"curves": curves}, height=440)


def collapse(curves: pd.DataFrame) -> dict[str, Any]:
    """Loss over final loss by the fraction of the run, a line a run; those that are off the rest are red.

    Args:
      curves: run_id, n_params, n_tokens, final, broken ("yes" or "no"), fraction, ratio.
    """
    across = x("fraction", "Part of the run that is made", curves["fraction"], label="{:.0%}".format, pad=0)
    up = y("ratio", "Loss / final loss", curves["ratio"], label=plain)
    off = alt.condition("datum.broken == 'yes'", alt.value(VERIFY), alt.value("var(--muted)"))
    width = alt.condition("datum.broken == 'yes'", alt.value(2.6), alt.value(0.8))
    hover = tips(curves, "run_id", "n_params", "n_tokens", "final")
    lines = chart("collapse").mark_line(strokeJoin="round").encode(
        x=across, y=up, detail="run_id:N", stroke=off, strokeWidth=width, tooltip=hover
    )  # fmt: skip
    return finish([lines], {"collapse": curves})


def training_band(rows: pd.DataFrame, title: str) -> dict[str, Any]:
    """A run in its band: the interval that was to be expected, and what was measured.

    Args:
      rows: fraction, lo, hi, measured (NaN: not yet); title: of what was measured.
    """
    measured = rows.loc[rows["measured"].notna()]
    across = x("fraction", "Part of the run that is made", rows["fraction"], label="{:.0%}".format, pad=0)
    up = y("lo", title, [*rows["lo"], *rows["hi"], *measured["measured"]], label=plain)
    line = {"x": across, "y": alt.Y("measured:Q", scale=up["scale"])}
    layers = [
        chart("rows", "band").mark_area(**BAND).encode(x=across, y=up, y2="hi:Q"),
        chart("measured").mark_line(**LINE).encode(**line),
        chart("measured", "points").mark_point(filled=True, size=26, color=ACCENT).encode(**line),
    ]
    return finish(layers, {"rows": rows, "measured": measured})


def _menu(table: pd.DataFrame, field: str, title: str) -> alt.Parameter:
    """A drop-down that keeps one value of `field` in colour and fades the others."""
    present = stages(table) if field == "stage" else list(table.sort_values("n_params")[field].unique())
    menu = alt.binding_select(options=[None, *present], labels=["all", *present], name=f"{title} ")
    return alt.selection_point(fields=[field], bind=menu, name=f"only_{field}")


def recipe_gain(
    curves: pd.DataFrame, pairs: pd.DataFrame, reference: str, held_out: pd.DataFrame | None = None
) -> dict[str, Any]:
    """How many times the compute the reference needs for the loss of each recipe, against compute.

    Args:
      curves: recipe, flops, gain, lo, hi, beyond: whether there are no runs to compare, where it is dashed.
      pairs: recipe, flops, gain, lo, hi and what tips show of pairs of runs; may be empty.
      reference: name of the recipe that others are measured by.
      held_out: recipe, flops and gain of pairs that were predicted, as stars.
    """
    names = list(dict.fromkeys(curves["recipe"]))
    across = x("flops", COMPUTE, curves["flops"], label=e_notation)
    points = [table["gain"] for table in (pairs, held_out) if table is not None and len(table)]
    ends = pd.concat([curves["lo"], curves["hi"], pd.Series([1.0]), *points])
    title = f"Compute that {reference} needs for the same loss, ×"
    up = y("gain", title, np.clip(ends, 1 / MOST_GAIN, MOST_GAIN), label=plain, pad=0.08)
    colour = alt.Color(
        "recipe:N",
        scale=alt.Scale(domain=names, range=[ACCENT, INK, *ramp(max(len(names), 3))]),
        legend=alt.Legend(title="Recipe", symbolType="circle", symbolOpacity=1),
    )
    between = {"y": alt.Y("lo:Q", scale=up["scale"]), "y2": "hi:Q", "x": across, "color": colour}
    within = curves.loc[~curves["beyond"]]
    last = within.groupby("recipe", sort=False).tail(1)
    further = pd.concat([last, curves.loc[curves["beyond"]]])
    layers = [
        chart("one").mark_rule(stroke="var(--line)", strokeWidth=1.5).encode(y=up),
        chart("within", "band").mark_area(fillOpacity=0.14, opacity=1, clip=True).encode(**between),
        chart("further", "band_ahead").mark_area(fillOpacity=0.06, opacity=1, clip=True).encode(**between),
        chart("pairs", "reach").mark_rule(strokeWidth=1, opacity=0.25, clip=True).encode(**between),
        chart("within").mark_line(strokeWidth=2, clip=True).encode(x=across, y=up, color=colour),
        chart("further")
        .mark_line(strokeWidth=2, strokeDash=[5, 4], clip=True)
        .encode(x=across, y=up, color=colour),
        chart("pairs")
        .mark_point(filled=True, size=42, opacity=1, clip=True)
        .encode(
            x=across,
            y=up,
            color=colour,
            tooltip=tips(pairs, "n_params", "n_tokens", "loss_a", "loss_b", "gain", "lo", "hi"),
        ),
    ]
    stars = pd.DataFrame() if held_out is None else held_out
    layers.append(
        chart("stars")
        .mark_point(shape=STAR, filled=True, size=280, opacity=1, fill=VERIFY, clip=True)
        .encode(x=across, y=up, tooltip=tips(stars, "recipe", "flops", "gain"))
    )
    tables = {"one": pd.DataFrame({"gain": [1.0]}), "within": within, "further": further, "pairs": pairs}
    return finish(layers, tables | {"stars": stars})
