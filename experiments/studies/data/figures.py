"""The pictures of the studies of data, as PNG."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scaling.report import theme

WIDTH, HEIGHT = 300, 260  # of a panel, CSS pixels


def mixture(losses: pd.DataFrame, result: dict[str, Any]) -> bytes:
    """Loss that the law says against the one measured, a colour a domain; the best mixture's shares with
    their intervals, over a line at equal shares; and how proxies rank what larger models were trained on.

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
    name = alt.X("domain:N", title=None, sort=domains, axis=alt.Axis(labelAngle=0))
    share = theme.y("share", "Share of the best mixture", [0, 1], log=False, pad=0.0, label=theme.plain)
    scale = share["scale"]
    base = alt.Chart(shares).encode(x=name)
    best = alt.layer(
        base.mark_bar(size=34, clip=True).encode(y=share, color=colour),
        base.mark_rule(color=theme.INK, strokeWidth=1.5).encode(y=alt.Y("lo:Q", scale=scale), y2="hi:Q"),
        alt.Chart(pd.DataFrame({"equal": [1 / len(domains)]}))
        .mark_rule(color=theme.MUTED, strokeDash=[5, 4])
        .encode(y=alt.Y("equal:Q", scale=scale)),
    )
    panels = {"Proxies": law, "Best mixture": best, "Larger models": by_proxies(result["targets_of_checked"])}
    each = (
        panel.properties(width=0.8 * WIDTH, height=HEIGHT, title=title) for title, panel in panels.items()
    )
    return finished(alt.hconcat(*each))


def by_proxies(targets: dict[str, list[float]]) -> Any:
    """Targets of proxies less their mean against those of the larger models, a shape a size; mixtures
    that are ranked alike rise from left to right.

    Args:
      targets: by size, the larger models last; a number a mixture.
    """
    *smaller, larger = targets
    rows = pd.concat(
        pd.DataFrame(
            {
                "size": size,
                "proxy": np.subtract(targets[size], np.mean(targets[size])),
                "larger": targets[larger],
            }
        )
        for size in smaller
    )
    shape = alt.Shape("size:N", title="Proxy", sort=smaller)
    return (
        alt.Chart(rows)
        .mark_point(size=60, strokeWidth=1.5, color=theme.INK)
        .encode(
            x=theme.x("larger", f"Target, {larger}", rows["larger"], label=theme.plain),
            y=theme.y(
                "proxy", "Target of proxies, less its mean", rows["proxy"], log=False, label=theme.plain
            ),
            shape=shape,
        )
    )


def repetition(table: pd.DataFrame, parts: Sequence[int]) -> bytes:
    """Loss against epochs: a row for each part of the corpus, a panel a weight decay, a colour a size. Solid
    is the law of overfitting, dashed that of repeats worth less and less; rings are as many fresh tokens.

    Args:
      table: repetition.csv of the study.
      parts: unique tokens of the rows.
    """
    table = table.assign(size=[theme.si(n) for n in table["n_params"]])
    sizes = list(table.sort_values("n_params")["size"].drop_duplicates())
    fresh = pd.DataFrame(table[table["epochs"].round() == 1])
    lines = []
    for part in parts:
        rows = pd.DataFrame(table[table["part"] == part])
        alike = pd.DataFrame(fresh[fresh["n_tokens"].isin(rows["n_tokens"])])
        alike = alike.assign(epochs=alike["n_tokens"] / rows["unique_tokens"].max())
        across = theme.x("epochs", f"Epochs of {part:,} tokens", rows["epochs"])
        up = theme.y(
            "loss", "Loss, nats per token", pd.concat([rows["loss"], alike["loss"]]), label=theme.plain
        )
        panels = []
        for decay in sorted(rows["weight_decay"].unique()):
            own, other = (alt.Chart(pd.DataFrame(t[t["weight_decay"] == decay])) for t in (rows, alike))
            colour = by_size("size", "Parameters", sizes)
            base, rings = own.encode(x=across, color=colour), other.encode(x=across, color=colour)
            law = alt.Y("overfitting:Q", scale=up["scale"])
            worth = alt.Y("data_constrained:Q", scale=up["scale"])
            panels.append(
                alt.layer(
                    base.mark_line(strokeWidth=1.5, clip=True).encode(y=law),
                    base.mark_line(strokeWidth=1.5, strokeDash=[5, 4], clip=True).encode(y=worth),
                    rings.mark_point(size=60, strokeWidth=1.5).encode(y=up),
                    base.mark_point(filled=True, size=42, opacity=1).encode(y=up),
                ).properties(width=WIDTH, height=HEIGHT * 0.8, title=f"Weight decay {decay:g}")
            )
        lines.append(alt.hconcat(*panels))
    return finished(alt.vconcat(*lines))


def known_entropy(table: pd.DataFrame, found: dict[str, Any]) -> bytes:
    """Above, loss against tokens, a panel a source, a colour a size; the line is the text's entropy, the band
    the interval of the E that was fitted. Below, E fitted to learners whose loss is exact, by their grid.

    Args:
      table: known_entropy.csv of the study.
      found: known_entropy.json.
    """
    table = table.assign(size=[theme.si(n) for n in table["n_params"]])
    sizes = list(table.sort_values("n_params")["size"].drop_duplicates())
    networks = []
    for source, rows in table.groupby("source", sort=False):
        fit = next(each for each in found["networks"] if (each["source"], each["seed"]) == (source, "all"))
        ends = [rows["loss"].max(), rows["loss"].min(), 0.97 * fit["truth"]]
        up = theme.y("loss", "Loss, nats per token", ends, label=theme.plain)
        low, high = up["scale"]["domain"]
        band = {"lo": max(fit["lo"], low), "hi": min(fit["hi"], high), "truth": fit["truth"]}
        base = alt.Chart(rows).encode(
            x=theme.x("n_tokens", "Tokens", rows["n_tokens"]), color=by_size("size", "Parameters", sizes)
        )
        of_e = alt.Chart(pd.DataFrame([band]))
        networks.append(
            alt.layer(
                of_e.mark_rect(opacity=0.12, color=theme.VERIFY).encode(
                    y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q"
                ),
                of_e.mark_rule(color=theme.INK, strokeDash=[5, 4]).encode(
                    y=alt.Y("truth:Q", scale=up["scale"])
                ),
                base.mark_line(strokeWidth=1.5).encode(y=alt.Y("mean(loss):Q", scale=up["scale"])),
                base.mark_point(filled=True, size=36, opacity=1).encode(y=up),
            ).properties(width=WIDTH * 0.8, height=HEIGHT, title=str(source))
        )
    learners = [
        of_learner(name, rows) for name, rows in pd.DataFrame(found["ideal_learners"]).groupby("learner")
    ]
    return finished(alt.vconcat(alt.hconcat(*networks), alt.hconcat(*learners)))


def of_learner(name: Any, rows: pd.DataFrame) -> Any:
    """E with its interval for each grid and seed, seeds side by side; the line is the truth."""
    rows = rows.assign(at=rows["n_skills"] * 1.25 ** (rows["seed"] - rows["seed"].median()))
    truth = float(rows["truth"].iloc[0])
    up = theme.y("E", "Fitted E", [0.8 * truth, 1.1 * truth], log=False, label=theme.plain)
    low, high = up["scale"]["domain"]
    base = alt.Chart(rows.assign(lo=rows["lo"].clip(low, high), hi=rows["hi"].clip(low, high)))
    base = base.encode(x=theme.x("at", "Most skills of the grid", rows["at"]))
    line = alt.Chart(pd.DataFrame([{"truth": truth}])).mark_rule(color=theme.INK, strokeDash=[5, 4])
    return alt.layer(
        line.encode(y=alt.Y("truth:Q", scale=up["scale"])),
        base.mark_rule(color=theme.VERIFY, strokeWidth=2).encode(
            y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q"
        ),
        base.mark_point(filled=True, size=36, color=theme.INK, opacity=1, clip=True).encode(y=up),
    ).properties(width=WIDTH, height=HEIGHT * 0.75, title=f"Learners whose loss is exact: {name}")


def by_size(field: str, title: str, order: list[str]) -> alt.Color:
    """A colour for each size, from small to large."""
    legend = alt.Legend(title=title, symbolType="circle", symbolOpacity=1)
    return alt.Color(
        f"{field}:N", sort=order, scale=alt.Scale(domain=order, range=theme.ramp(len(order))), legend=legend
    )


def finished(chart: Any) -> bytes:
    """PNG of a chart with the looks of all figures."""
    config = theme.config()
    config["legend"] |= {"orient": "right", "titleOrient": "top", "offset": 12}
    config["title"] = {"anchor": "start", "fontSize": 13, "fontWeight": 600, "color": theme.INK, "offset": 24}
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
    if len(rephrased) > 1:
        chart = alt.vconcat(chart, _other_words(rephrased)).resolve_scale(color="independent")
    return finished(chart)


def _generations(table: pd.DataFrame, arms: list[str], name: str, title: str) -> Any:
    """One measure over the generations."""
    rows = table.dropna(subset=[name])
    colour = alt.Color("arm:N", title="Trained on", sort=arms)
    last = int(rows["generation"].to_numpy().max())
    across = alt.X(
        "generation:Q", title="Generation", axis=alt.Axis(values=[*range(last + 1)], format="d", grid=False)
    )
    up = theme.y(name, title, rows[name], log=False, label=theme.plain)
    base = alt.Chart(rows).encode(x=across, color=colour)
    means = alt.Y(f"mean({name}):Q", scale=up["scale"], axis=up["axis"], title=title)
    lines = base.mark_line(strokeWidth=2).encode(y=means)
    points = base.mark_point(filled=True, size=16, opacity=0.6).encode(y=up)
    return alt.layer(lines, points).properties(width=WIDTH, height=HEIGHT)


def _other_words(rephrased: pd.DataFrame) -> Any:
    """The first generation by the share of its text that is in other words, and longer runs on none."""
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
    """What statements cost, by the documents that have them and by their share of all: a colour a size;
    dashed is the law, in the mean over its lengths of training, the line above what is never planted.

    Args:
      table: n_params, n_planted, rate, nats, predicted.
      never: nats of a statement that was not planted.
    """
    sizes = [theme.si(n) for n in sorted(table["n_params"].unique())]
    table = table.assign(size=[theme.si(n) for n in table["n_params"]])
    colours = alt.Scale(range=theme.ramp(len(sizes)))
    colour = alt.Color("size:N", title="Parameters", sort=sizes, scale=colours)
    up = theme.y("nats", "Nats of a statement", table["nats"], log=False, label=theme.plain)
    count = theme.x("n_planted", "Documents with the statement", table["n_planted"], label=theme.plain)
    rate = theme.x("rate", "Their share of all documents", table["rate"], label=theme.e_notation)
    points = alt.Chart(table).mark_point(filled=True, size=30, opacity=0.8).encode(y=up, color=colour)
    law = alt.Chart(table).mark_line(strokeDash=[5, 4], strokeWidth=1.5)
    law = law.encode(x=count, y=alt.Y("mean(predicted):Q", scale=up["scale"]), color=colour)
    floor = alt.Chart(pd.DataFrame({"nats": [never]})).mark_rule(color=theme.MUTED).encode(y=up)
    left = alt.layer(floor, law, points.encode(x=count)).properties(width=WIDTH, height=HEIGHT)
    return finished(alt.hconcat(left, points.encode(x=rate).properties(width=WIDTH, height=HEIGHT)))
