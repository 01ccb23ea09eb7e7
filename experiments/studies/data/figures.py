"""The pictures of the studies of data, as PNG."""

from typing import Any

import altair as alt
import pandas as pd

from scaling.report import theme

WIDTH, HEIGHT = 300, 260  # of a panel, CSS pixels


def mixture(losses: pd.DataFrame, result: dict[str, Any]) -> bytes:
    """Loss that the law says against the one measured, a colour a domain; and the best mixture's shares with
    their intervals, over a line at equal shares.

    Args:
      losses: domain, predicted, measured.
      result: mixture.json of the study.
    """
    domains = list(result["shares"])
    colour = alt.Color("domain:N", title="Domain", sort=domains)
    values = pd.concat([losses["predicted"], losses["measured"]])
    across = theme.x("measured", "Measured loss, nats per token", values, label=theme.plain)
    up = theme.y("predicted", "By the law", values, label=theme.plain)
    ends = pd.DataFrame({"measured": [values.min(), values.max()], "predicted": [values.min(), values.max()]})
    law = alt.layer(
        alt.Chart(ends).mark_line(color=theme.MUTED, strokeDash=[5, 4]).encode(x=across, y=up),
        alt.Chart(losses).mark_point(filled=True, size=40, opacity=1).encode(x=across, y=up, color=colour),
    )
    shares = pd.DataFrame(
        {"domain": d, "share": result["shares"][d], "lo": result["lo"][d], "hi": result["hi"][d]}
        for d in domains
    )
    name, scale = alt.X("domain:N", title=None, sort=domains), alt.Scale(domain=[0, 1])
    base = alt.Chart(shares).encode(x=name)
    best = alt.layer(
        base.mark_bar(size=34).encode(
            y=alt.Y("share:Q", title="Share of the best mixture", scale=scale), color=colour
        ),
        base.mark_rule(color=theme.INK, strokeWidth=1.5).encode(y=alt.Y("lo:Q", scale=scale), y2="hi:Q"),
        alt.Chart(pd.DataFrame({"equal": [1 / len(domains)]}))
        .mark_rule(color=theme.MUTED, strokeDash=[5, 4])
        .encode(y=alt.Y("equal:Q", scale=scale)),
    )
    return finished(alt.hconcat(*(panel.properties(width=WIDTH, height=HEIGHT) for panel in (law, best))))


def finished(chart: Any) -> bytes:
    """PNG of a chart with the looks of all figures."""
    config = theme.config()
    config["legend"] |= {"orient": "right", "titleOrient": "top", "offset": 12}
    config["concat"] = {"spacing": 30}
    return theme.png(chart.configure(**config).to_dict(validate=False))


def model_made(table: pd.DataFrame, rephrased: pd.DataFrame) -> bytes:
    """How far generations are off and what their text is like, a colour an arm: lines are means over seeds.

    Args:
      table: arm, seed, generation (0 is real text), excess, tail, distinct, rare.
      rephrased: rephrased, longer, and excess with mean, lo and hi.
    """
    arms = list(table["arm"].drop_duplicates())
    titles = {
        "excess": "Above the entropy of real text, nats per token",
        "tail": "The same on the rarest tenth of documents",
        "rare": "Samples as rare as that tenth, share",
        "distinct": "Distinct 4-grams of samples, share",
    }
    panels = [_generations(table, arms, name, title) for name, title in titles.items()]
    chart = alt.vconcat(alt.hconcat(*panels[:2]), alt.hconcat(*panels[2:]))
    return finished(alt.vconcat(chart, _other_words(rephrased)) if len(rephrased) > 1 else chart)


def _generations(table: pd.DataFrame, arms: list[str], name: str, title: str) -> Any:
    """One measure over the generations."""
    rows = table.dropna(subset=[name])
    colour = alt.Color("arm:N", title="Trained on", sort=arms)
    last = int(rows["generation"].to_numpy().max())
    across = alt.X("generation:Q", title="Generation", axis=alt.Axis(values=[*range(last + 1)], grid=False))
    up = theme.y(name, title, rows[name], log=False, label=theme.plain)
    base = alt.Chart(rows).encode(x=across, color=colour)
    means = alt.Y(f"mean({name}):Q", scale=up["scale"], axis=up["axis"], title=title)
    lines = base.mark_line(strokeWidth=2).encode(y=means)
    points = base.mark_point(filled=True, size=16, opacity=0.6).encode(y=up)
    return alt.layer(lines, points).properties(width=WIDTH, height=HEIGHT)


def _other_words(rephrased: pd.DataFrame) -> Any:
    """The first generation by the share of its text that is in other words; crosses are longer runs."""
    ends = pd.DataFrame(rephrased["excess"].tolist())
    rows = pd.concat([rephrased[["rephrased", "longer"]], ends], axis=1)
    rows = rows.assign(words=[f"{times} times the tokens" for times in rows["longer"]])
    across = theme.x("rephrased", "Share in other words", rows["rephrased"], log=False, label=theme.plain)
    up = theme.y("mean", "Above the entropy of real text", rows[["lo", "hi"]], log=False, label=theme.plain)
    base = alt.Chart(rows).encode(x=across, color=alt.Color("words:N", title="Trained for"))
    rules = base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q")
    return alt.layer(rules, base.mark_point(filled=True, size=48, opacity=1).encode(y=up)).properties(
        width=WIDTH, height=HEIGHT
    )


def poison(table: pd.DataFrame, never: float) -> bytes:
    """How probably statements are repeated, by the documents that have them and by their share of all: a
    colour a size; dashed is the law at the mean of its sizes' tokens, the line below what is never planted.

    Args:
      table: n_params, n_tokens, n_planted, rate, probability, predicted.
      never: the largest probability of a statement that was not planted.
    """
    sizes = [theme.si(n) for n in sorted(table["n_params"].unique())]
    table = table.assign(size=[theme.si(n) for n in table["n_params"]])
    colour = alt.Color(
        "size:N", title="Parameters", sort=sizes, scale=alt.Scale(range=theme.ramp(len(sizes)))
    )
    up = theme.y(
        "probability", "Probability of the statement", table["probability"], log=False, label=theme.plain
    )
    panels = []
    for name, title in (
        ("n_planted", "Documents with the statement"),
        ("rate", "Their share of all documents"),
    ):
        across = theme.x(
            name, title, table[name], label=theme.plain if name == "n_planted" else theme.e_notation
        )
        base = alt.Chart(table).encode(x=across, y=up, color=colour)
        panels.append(base.mark_point(filled=True, size=30, opacity=0.8))
    by_count = (
        alt.Chart(table)
        .mark_line(strokeDash=[5, 4], strokeWidth=1.5)
        .encode(
            x=theme.x("n_planted", "Documents with the statement", table["n_planted"], label=theme.plain),
            y=alt.Y("mean(predicted):Q", scale=up["scale"]),
            color=colour,
        )
    )
    floor = alt.Chart(pd.DataFrame({"probability": [never]})).mark_rule(color=theme.MUTED).encode(y=up)
    left = alt.layer(floor, by_count, panels[0]).properties(width=WIDTH, height=HEIGHT)
    return finished(alt.hconcat(left, panels[1].properties(width=WIDTH, height=HEIGHT)))
