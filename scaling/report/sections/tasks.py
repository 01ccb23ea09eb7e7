"""The section on tasks: accuracy of every evaluated run against its loss.

It reads tasks.csv beside the table of runs: columns run_id, task, metric, value, lo, hi, n, chance; further
ones are not looked at.
"""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scaling.report.charts import LOSS, chart
from scaling.report.data import ReportData
from scaling.report.page import Cell, Column, Figure, Section, Table, TableRow
from scaling.report.sections.families import COLOURS
from scaling.report.theme import MUTED, finish, plain, tips, x, y

METRICS = ("acc", "exact_match")  # the number that stands for a task


def section(data: ReportData) -> Section | None:
    """Nothing where no run was evaluated on a task."""
    found = points(data)
    if found.empty:
        return None
    names = list(dict.fromkeys(found["kind"]))
    levels = sorted(set(found["chance"].dropna()))
    guess = f" Dashed: guessing, {', '.join(f'{level:g}' for level in levels)}." if levels else ""
    figure = Figure(
        "tasks",
        "Accuracy against loss",
        "A point is a run on a task, the line through it its 90% interval; better runs are to the right."
        f"{guess} A task that stays at its chance level has not begun to be learned at these sizes.",
        _chart(found, names, levels),
    )
    n_items = ", ".join(f"{n:,}" for n in sorted(set(found["n"].astype(int))))
    text = f"{len(set(found['run_id']))} runs were asked {n_items} items of each of {len(names)} tasks."
    return Section("tasks", "Tasks", text, figures=[figure], tables=[_table(found, names)])


def points(data: ReportData) -> pd.DataFrame:
    """A row a run and task: run_id, kind (the task), loss, measured, lo, hi, n, chance; more for tips."""
    if data.tasks.empty:
        return pd.DataFrame()
    columns = ["run_id", "task", "value", "lo", "hi", "n", "chance"]
    rows = data.tasks.loc[data.tasks["metric"].isin(METRICS), columns]
    rows = rows.drop_duplicates(["run_id", "task"]).rename(columns={"task": "kind", "value": "measured"})
    runs = data.runs.table
    shown = [name for name in ("run_id", "stage", "n_params", "n_tokens", "loss") if name in runs]
    finite = np.isfinite(runs["loss"].to_numpy(float))
    return rows.merge(runs.loc[finite, shown], on="run_id")


def _chart(found: pd.DataFrame, names: list[str], levels: list[float]) -> dict[str, Any]:
    across = x("loss", LOSS, found["loss"], log=False, label=plain)
    across["scale"]["reverse"] = True
    values = [*found["lo"], *found["hi"], *levels]
    up = y("measured", "Accuracy", values, log=False, label=plain)
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=names, range=[COLOURS[i % len(COLOURS)] for i in range(len(names))]),
        legend=alt.Legend(title="Task", symbolType="circle", symbolOpacity=1),
    )
    layers = [
        chart("guess")
        .mark_rule(stroke=MUTED, strokeDash=[4, 4])
        .encode(y=alt.Y("measured:Q", scale=up["scale"])),
        chart("points", "reach")
        .mark_rule(strokeWidth=1.2, opacity=0.45)
        .encode(x=across, y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q", color=colour),
        chart("points")
        .mark_point(filled=True, size=42, opacity=0.9)
        .encode(
            x=across,
            y=up,
            color=colour,
            tooltip=tips(found, "kind", "run_id", "stage", "n_params", "n_tokens", "loss", "lo", "hi"),
        ),
    ]
    tables = {"guess": pd.DataFrame({"measured": levels}), "points": found}
    return finish(layers, tables, height=400)


def _table(found: pd.DataFrame, names: list[str]) -> Table:
    """Each task at the lowest loss, and how well the order by loss tells the order by accuracy."""
    rows = []
    for name in names:
        of_task = found.loc[found["kind"] == name].sort_values("loss")
        best = of_task.to_dict("records")[0]
        rank = _rank_correlation(of_task["measured"], of_task["loss"])
        chance = "" if np.isnan(best["chance"]) else f"{best['chance']:.3g}"
        cells = [f"{best['measured']:.3f}", f"{best['lo']:.3f} to {best['hi']:.3f}", chance]
        cells += ["" if np.isnan(rank) else f"{rank:.2f}".replace("-", "−")]
        rows.append(TableRow([Cell(name, None, "text"), *map(Cell, cells)]))
    heads = ("Accuracy at the lowest loss", "90% interval", "By guessing", "Rank correlation with loss")
    return Table("Tasks", [Column("Task", text=True), *map(Column, heads)], rows)


def _rank_correlation(accuracy: pd.Series, loss: pd.Series) -> float:
    """Spearman's, of accuracy and the fall of the loss; nan where one of the two does not vary."""
    ranks = [accuracy.rank().to_numpy(), (-loss).rank().to_numpy()]
    if any(len(set(rank)) < 2 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])
