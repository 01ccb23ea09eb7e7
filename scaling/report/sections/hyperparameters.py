"""The section on learning rate and batch where both were swept: surfaces of some sizes, and the laws."""

from dataclasses import asdict

import altair as alt
import numpy as np
import pandas as pd

from scaling.hparams import HparamLaws
from scaling.hparams.loss_surface import LossSurface
from scaling.report.charts import HOLLOW, chart, edge_shape
from scaling.report.page import Cell, Column, Figure, Section, Table, TableRow
from scaling.report.sections.numbers import raised
from scaling.report.theme import finish, groups, plain, ramp, si, tips, x, y

SURFACES = 4  # sweeps drawn, from the smallest to the largest
LEVELS = (0.25, 0.5, 1.0, 2.0)  # contours: per cent of the loss above the optimum
RAYS, STEPS, FAR = 120, 100, 4.0  # a contour is sought along so many rays, so far out in log units
LINES = 3  # of a law, at as many values of the other size
DRAWN = 40
TITLES = {
    "lr": "Learning rate",
    "batch_tokens": "Batch, tokens",
    "n_params": "Parameters N",
    "n_tokens": "Tokens D",
}
SHORT = {"lr": "lr", "batch_tokens": "batch"}
NAMES = {"lr": "learning rate", "batch_tokens": "batch", "n_params": "size", "n_tokens": "data"}


def section(laws: HparamLaws) -> Section:
    """Of sweeps over learning rate and batch, or over batch alone."""
    surfaces = _surfaces(laws) if len(laws.axes) == 2 else []
    return Section(
        "learning-rate",
        "Learning rate and batch",
        formula=raised("; ".join(laws.formulas.values())),
        figures=[*surfaces, *(_law(laws, axis) for axis in laws.axes)],
        tables=[_table(laws)],
    )


def _surfaces(laws: HparamLaws) -> list[Figure]:
    order = np.argsort([optimum.n_params * optimum.n_tokens for optimum in laws.optima], kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, SURFACES).round().astype(int))]
    return [_surface(laws, int(sweep), k) for k, sweep in enumerate(shown)]


def _surface(laws: HparamLaws, sweep: int, k: int) -> Figure:
    """Settings tried in one sweep, coloured by their excess, and contours of the fitted surface."""
    optimum = laws.optima[sweep]
    runs = laws.runs.loc[laws.runs["cell"] == sweep]
    excess = 100 * (runs["loss"] / optimum.loss - 1)
    bins = np.array([*LEVELS, np.inf])
    label = [f"≤ {level:g}%" for level in LEVELS] + [f"> {LEVELS[-1]:g}%"]
    near = np.searchsorted(bins, excess.to_numpy(), side="left").clip(max=len(LEVELS))
    runs = runs.assign(excess=excess, best=[label[i] for i in near])
    best = pd.DataFrame([asdict(optimum)]).assign(at_edge=optimum.lr_at_edge or optimum.batch_at_edge)
    edge = ""
    if best["at_edge"].iloc[0]:
        edge = " The triangle lies at the edge of what was tried: only a bound."
    contours = pd.concat([_contour(laws.surface(sweep), level) for level in LEVELS])
    across = x("lr", TITLES["lr"], runs["lr"], label=plain)
    up = y("batch_tokens", TITLES["batch_tokens"], runs["batch_tokens"])
    colour = alt.Color(
        "best:N",
        scale=alt.Scale(domain=label, range=ramp(len(label))[::-1]),
        legend=alt.Legend(title="Loss above the optimum", symbolType="circle", symbolOpacity=1),
    )
    line = {"stroke": "var(--line)", "strokeWidth": 1.4, "clip": True}
    layers = [
        chart("contours").mark_line(**line).encode(x=across, y=up, detail="cell:N", order="axis:Q"),
        chart("runs")
        .mark_point(filled=True, size=40, opacity=0.9)
        .encode(x=across, y=up, color=colour, tooltip=tips(runs, "lr", "batch_tokens", "loss", "excess")),
        chart("best")
        .mark_point(**HOLLOW, size=130)
        .encode(x=across, y=up, shape=edge_shape(), tooltip=tips(best, "lr", "batch_tokens", "loss")),
    ]
    levels = ", ".join(f"{level:g}" for level in LEVELS)
    return Figure(
        f"surface_{k + 1}",
        f"{si(optimum.n_params)} parameters, {si(optimum.n_tokens)} tokens",
        f"Points: settings tried; lines: the fitted surface {levels}% above its bottom, the open mark.{edge}",
        finish(layers, {"contours": contours, "runs": runs, "best": best}),
    )


def _contour(surface: LossSurface, level: float) -> pd.DataFrame:
    """Where loss is first `level` per cent above the bottom, along rays from there; rows in order."""
    angle, radius = np.linspace(0, 2 * np.pi, RAYS + 1), np.linspace(0, FAR, STEPS)
    ray = np.stack([np.cos(angle), np.sin(angle)])
    z = surface.centre[:, None, None] + radius[:, None] * ray[:, None]
    excess = 100 * (surface.loss(**dict(zip(surface.axes, np.exp(z)))) / np.exp(surface.log_loss) - 1)
    beyond = (excess > level).argmax(axis=0)  # 0: nowhere
    after, before = (excess[np.maximum(beyond + step, 0), np.arange(RAYS + 1)] for step in (0, -1))
    share = np.where(beyond > 0, (level - before) / np.where(after > before, after - before, 1), 0)
    at = (np.maximum(beyond - 1, 0) + share) * radius[1]
    rows = np.exp(surface.centre[:, None] + at * ray)
    table = pd.DataFrame(dict(zip(surface.axes, rows))).assign(cell=f"{level:g}%", axis=np.arange(RAYS + 1.0))
    return table.loc[beyond > 0]


def _law(laws: HparamLaws, axis: str) -> Figure:
    """The best value against that of N and D which moves it more, at some values of the other."""
    optima = pd.DataFrame([asdict(optimum) for optimum in laws.optima])
    short, exponents = SHORT[axis], laws.params[axis]
    optima["best"], optima["at_edge"] = optima[axis], optima[f"{short}_at_edge"]
    optima["lo"], optima["hi"] = optima[f"{short}_lo"], optima[f"{short}_hi"]
    spread = np.log(optima[["n_params", "n_tokens"]].max() / optima[["n_params", "n_tokens"]].min())
    moved = {"n_params": abs(exponents["N"]), "n_tokens": abs(exponents["D"])}
    along = max(moved, key=lambda size: moved[size] * spread[size])
    other = "n_tokens" if along == "n_params" else "n_params"
    optima["size"] = [si(value) for value in optima[other]]
    lines = pd.concat([_line(laws, axis, along, other, value, optima) for value in _some(optima[other])])
    ends = np.array([*optima["lo"], *optima["hi"], *lines["lo"], *lines["hi"]])
    middle = [*optima["best"], *lines["best"]]
    ends = np.clip(ends, min(middle) / 5, max(middle) * 5)
    across = x(along, TITLES[along], [*optima[along], *lines[along]], pad=0.02)
    up = y("best", f"Best {TITLES[axis].lower()}", ends, label=plain if axis == "lr" else si)
    colour = groups(pd.concat([lines, optima]), "size", TITLES[other], by=other)
    between = {"y": alt.Y("lo:Q", scale=up["scale"]), "y2": "hi:Q"}
    band = chart("law", "band").mark_area(fillOpacity=0.12, clip=True)
    rule = chart("optima", "reach").mark_rule(strokeWidth=1.4, clip=True)
    shown = tips(optima, "n_params", "n_tokens", axis, "lo", "hi", "loss")
    layers = [
        band.encode(x=across, color=colour, **between),
        chart("law").mark_line(strokeWidth=2, clip=True).encode(x=across, y=up, color=colour),
        rule.encode(x=across, color=colour, **between),
        chart("optima")
        .mark_point(filled=True, size=80, opacity=1)
        .encode(x=across, y=up, color=colour, shape=edge_shape(), tooltip=shown),
    ]
    edge = ""
    if optima["at_edge"].to_numpy().any():
        edge = " Triangles lie at the edge of what was tried: only bounds."
    return Figure(
        f"{short}_law",
        f"The best {NAMES[axis]} as a function of {NAMES[along]}",
        f"Marks: the optimum of each sweep with {laws.level:.0%} intervals; lines and bands: the law and its "
        f"intervals, scatter of the optima included.{edge}",
        finish(layers, {"law": lines, "optima": optima}),
    )


def _some(values) -> np.ndarray:
    """A few of the values, the smallest and the largest among them."""
    known = np.unique(values)
    return known[np.unique(np.linspace(0, len(known) - 1, LINES).round().astype(int))]


def _line(laws: HparamLaws, axis: str, along: str, other: str, value: float, optima: pd.DataFrame):
    """The law along one size where the other is `value`: columns best, lo, hi, the sizes, and a label."""
    sizes = np.geomspace(optima[along].min(), optima[along].max(), DRAWN)
    predicted = asdict(laws.predict(**{along: sizes, other: np.full(DRAWN, value)}))
    ends = {end: predicted[f"{SHORT[axis]}_{end}"] for end in ("lo", "hi")}
    return pd.DataFrame({along: sizes, other: value, "best": predicted[axis], **ends, "size": si(value)})


def _table(laws: HparamLaws) -> Table:
    """The exponents of the laws."""
    rows = []
    for axis in laws.axes:
        for name, value in laws.params[axis].items():
            lo, hi = laws.ci[axis][name]
            what = "factor" if name == "c" else f"exponent of {name}"
            cells = [Cell(f"{number:.4g}".replace("-", "−"), number) for number in (value, lo, hi)]
            rows.append(TableRow([Cell(f"{TITLES[axis]}: {what}", None, "text"), *cells]))
    heads = [Column("Value"), Column(f"{laws.level:.0%} from"), Column("to")]
    return Table("Laws of the settings", [Column("Law", text=True), *heads], rows)
