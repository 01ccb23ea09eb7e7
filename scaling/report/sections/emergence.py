"""The sections on emergence and inverse scaling: the same models under several metrics, with the verdicts."""

import contextlib
from collections.abc import Callable
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scaling.emergence import Trend, classify_trend, explain_jump
from scaling.report.charts import COMPUTE, chart
from scaling.report.data import ReportData
from scaling.report.page import Figure, Section
from scaling.report.theme import e_notation, finish, groups, plain, tips, x, y

LENGTH = "Tokens of an answer"


def sections(data: ReportData) -> list[Section]:
    """Those that the study's emergence.csv and misprints.csv allow."""
    made = []
    if len(data.emergence):
        made.append(_answers(data.emergence))
    if len(data.misprints):
        made.append(_misprints(data.misprints))
    return made


def describe_jumps(table: pd.DataFrame) -> list[str]:
    """The verdict on each length of answers, or why there is none."""
    return [f"Answers of {n} tokens: {_verdict(explain_jump, rows)}" for n, rows in table.groupby("n_answer")]


def describe_misprints(table: pd.DataFrame) -> list[str]:
    """The verdict on each place, or why there is none."""

    def trend(rows: pd.DataFrame) -> Trend:
        return classify_trend(rows["flops"], rows["loss"], rows["se"], higher_is_better=False)

    places = table.groupby("place", sort=False)
    return [f"Loss of {place}: {_verdict(trend, rows)}" for place, rows in places]


def _verdict(test: Callable[[pd.DataFrame], Any], rows: pd.DataFrame) -> str:
    try:
        return str(test(rows))
    except ValueError as error:
        return f"no test ({error})."


def _predicted(table: pd.DataFrame) -> pd.Series:
    """Exact match as a smooth function of token accuracy, by row; NaN where that is not tested."""
    predicted = pd.Series(np.nan, index=table.index)
    for _, rows in table.groupby("n_answer"):
        with contextlib.suppress(ValueError):
            predicted[rows.sort_values("flops", kind="stable").index] = explain_jump(
                rows, n_draws=1
            ).predicted
    return predicted


def _answers(table: pd.DataFrame) -> Section:
    table = table.assign(size=table["n_answer"].map("{:g}".format), predicted=_predicted(table))
    questions = f"{table['n_questions'].min():,} to {table['n_questions'].max():,} questions a point"
    exact = Figure(
        "emergence_exact",
        "Right as a whole: what looks like emergence",
        "Share of answers without a wrong token, greedy decoding. Points: measured; lines: exact match as a "
        f"smooth function of the share of right tokens of the same answers. {questions}.",
        _lines(table, "exact_match", "Exact match", "predicted"),
    )
    smooth = Figure(
        "emergence_tokens",
        "Right token by token: the same answers, the same models",
        "Share of the tokens of those answers that are the likeliest token.",
        _lines(table, "token_accuracy", "Token accuracy", "token_accuracy"),
    )
    brier = Figure(
        "emergence_brier",
        "How good the probabilities are",
        "Brier score of those tokens, from 0 (sure and right) to 2 (sure and wrong); lower is better.",
        _lines(table, "brier", "Brier score", "brier"),
    )
    return Section(
        "emergence", "Does anything emerge?", " ".join(describe_jumps(table)), figures=[exact, smooth, brier]
    )


def _lines(table: pd.DataFrame, field: str, title: str, line: str) -> dict[str, Any]:
    """`field` as points and `line` as a line against compute, by length of answers."""
    table = table.sort_values("flops")
    across = x("flops", COMPUTE, table["flops"], label=e_notation, pad=0.02)
    both = [*table[field], *table[line].dropna()]
    up, through = (y(name, title, both, log=False, label=plain) for name in (field, line))
    colour = groups(table, "size", LENGTH, by="n_answer")
    layers = [
        chart("answers", "line").mark_line(strokeWidth=2).encode(x=across, y=through, color=colour),
        chart("answers")
        .mark_point(filled=True, size=60, opacity=1)
        .encode(
            x=across,
            y=up,
            color=colour,
            tooltip=tips(table, "n_answer", "n_params", "n_tokens", "flops", field),
        ),
    ]
    return finish(layers, {"answers": table})


def _misprints(table: pd.DataFrame) -> Section:
    table = table.assign(lo=table["loss"] - 2 * table["se"], hi=table["loss"] + 2 * table["se"])
    table = table.sort_values("flops")
    across = x("flops", COMPUTE, table["flops"], label=e_notation, pad=0.02)
    up = y("loss", "Loss, nats per token", [*table["lo"], *table["hi"]], log=False, label=plain)
    places = list(table["place"].drop_duplicates())
    looks = alt.Scale(domain=places, range=["var(--accent)", "var(--ink)", "var(--verify)"])
    colour = alt.Color("place:N", scale=looks, legend=alt.Legend(title=None, labelLimit=320))
    points = chart("misprints").mark_point(filled=True, size=60, opacity=1)
    layers = [
        chart("misprints", "line").mark_line(strokeWidth=2).encode(x=across, y=up, color=colour),
        chart("misprints", "bars")
        .mark_rule(strokeWidth=1.4)
        .encode(x=across, y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q", color=colour),
        points.encode(
            x=across, y=up, color=colour, tooltip=tips(table, "place", "n_params", "flops", "loss")
        ),
    ]
    figure = Figure(
        "misprints",
        "A text with a misprint: what gets worse with scale",
        "One token of each text was replaced by another. Bars: two standard errors over texts.",
        finish(layers, {"misprints": table}),
    )
    return Section("inverse", "Inverse scaling", " ".join(describe_misprints(table)), figures=[figure])
