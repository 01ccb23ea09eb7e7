"""The section on post-training: what was maximised and what it cost, over training, and what models said."""

from typing import Any

import altair as alt
import pandas as pd

from scaling.report.charts import chart
from scaling.report.data import ReportData
from scaling.report.page import Cell, Column, Figure, Section, Table, TableRow
from scaling.report.theme import finish, plain, si, tips, x, y

# Measured name -> title and caption of its figure, in the order of the page.
METRICS = {
    "reward": ("Reward", "What is maximised; dashed: the true reward, where it is known (gold)."),
    "kl": (
        "KL from the reference policy, nats",
        "Of whole responses: how far the policy has moved.",
    ),
    "length": ("Length of responses, tokens", "End-of-text token included."),
    "entropy": ("Entropy of a token, nats", "Near 0 the policy always says the same."),
    "clip_fraction": ("Clip fraction", "Share of tokens at which the policy's clip binds."),
    "value_error": ("Value error", "Mean square of value function less return."),
    "truncated": ("Cut off", "Share of responses that did not end by themselves."),
    "mismatch": (
        "Mismatch, nats",
        "Largest difference of a token's log-probability, sampler less trainer.",
    ),
    "accuracy": ("Accuracy", "Share of pairs in the right order, or of response tokens that are likeliest."),
    "val_loss": ("Validation loss", "By the objective: see the conventions."),
}
GOLD = "gold"
SAID = ("prompt", "response")


def section(data: ReportData) -> Section | None:
    """Nothing where no run was post-trained."""
    found = data.post_training
    if found.empty:
        return None
    measured = set(found["name"])
    figures = [_figure(found, name) for name in METRICS if name in measured]
    kinds = found.drop_duplicates("run_id")["objective"].value_counts()
    runs = ", ".join(f"{n} of {kind}" for kind, n in kinds.items())
    text = f"Runs that started from a checkpoint: {runs}. Each line is a run; point at it to see which."
    return Section("post-training", "Post-training", text, figures=figures, tables=_texts(data.texts))


def _figure(found: pd.DataFrame, name: str) -> Figure:
    title, caption = METRICS[name]
    rows = found.loc[found["name"] == name].assign(kind="measured")
    if name == "reward" and GOLD in set(found["name"]):
        rows = pd.concat([rows, found.loc[found["name"] == GOLD].assign(kind=GOLD)])
    return Figure(f"post_training_{name}", title, caption, _lines(rows, title))


def _lines(rows: pd.DataFrame, title: str) -> dict[str, Any]:
    across = x("n_tokens", "Tokens trained on", rows["n_tokens"], label=si, pad=0)
    up = y("measured", title, rows["measured"], log=False, label=plain)
    shared = {"x": across, "y": up, "detail": ["run_id:N", "kind:N"]}
    dash = alt.condition("datum.kind == 'gold'", alt.value([5, 4]), alt.value([1, 0]))
    kinds = list(rows["objective"].drop_duplicates())
    looks = ["var(--accent)", "var(--verify)", "var(--ink)", "var(--muted)", "var(--faint)"]
    colour = alt.Color(
        "objective:N",
        scale=alt.Scale(domain=kinds, range=[looks[i % len(looks)] for i in range(len(kinds))]),
        legend=alt.Legend(title=None) if len(kinds) > 1 else None,
    )
    layers = [
        chart("runs", "line").mark_line(strokeWidth=1.6).encode(color=colour, strokeDash=dash, **shared),
        chart("runs", "handles")  # wide enough to point at, and not seen
        .mark_line(strokeWidth=12, strokeOpacity=0)
        .encode(tooltip=tips(rows, "run_id", "stage", "n_params"), **shared),
    ]
    return finish(layers, {"runs": rows}, height=300)


def _texts(texts: pd.DataFrame) -> list[Table]:
    """What a run said to its first validation prompts, from the start of training to its end."""
    if texts.empty:
        return []
    rows = [
        TableRow([Cell(f"{row['step']:,}", row["step"]), *(Cell(row[name], None, "text") for name in SAID)])
        for row in texts.to_dict("records")
    ]
    title = f"What run {texts['run_id'].iloc[-1]} said over training"
    return [Table(title, [Column("Step"), *(Column(name.capitalize(), text=True) for name in SAID)], rows)]
