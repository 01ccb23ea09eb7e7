"""The pictures of the studies of post-training, as PNG."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from scaling.report import theme

WIDTH, HEIGHT = 250, 260  # of a panel, CSS pixels
RECIPES = {"grpo": "GRPO", "dr_grpo": "Dr. GRPO", "rloo": "RLOO"}


def over_optimisation(table: pd.DataFrame, said: dict[str, Any], ways: list[str]) -> bytes:
    """True reward against √KL: a row for each way of optimising, a panel a number of pairs, a colour a reward
    model; the band is what was predicted of the largest. Points of PPO are means of four steps' rollouts.

    Args:
      table: way, n_pairs, kl, reward; reward_params except of DPO, whose beta it has.
      said: prediction.json of the study.
      ways: those with reward models.
    """
    sizes = sorted(table["reward_params"].dropna().unique())
    sampled = table["way"] == "PPO"
    parts = [pd.DataFrame(table[~sampled]), in_windows(pd.DataFrame(table[sampled]), 4)]
    table = pd.concat(parts, ignore_index=True)
    table = table.assign(d=np.sqrt(table["kl"]))
    lines = []
    for way in [*ways, "DPO"]:
        of_way = pd.DataFrame(table[table["way"] == way])
        across, up = theme.x("d", "√KL from the start", of_way["d"], log=False), reward_axis(of_way["reward"])
        panels = []
        for n in sorted(of_way["n_pairs"].astype(int).unique()):
            rows = of_way[of_way["n_pairs"] == n]
            title = f"{way[0].upper()}{way[1:]}, {n:,} pairs"
            if way == "DPO":
                panel = by_beta(pd.DataFrame(rows), across, up)
            else:
                panel = over_one(pd.DataFrame(rows), said[way][str(n)], sizes, across, up)
            panels.append(panel.properties(width=WIDTH, height=HEIGHT * 0.75, title=title))
        lines.append(alt.hconcat(*panels))
    return finished(alt.vconcat(*lines))


def in_windows(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """Means of each n rows of a run, one after the other: way, run_id, n_pairs, reward_params, kl, reward."""
    window = rows.groupby("run_id").cumcount() // n
    numbers = ["n_pairs", "reward_params", "kl", "reward"]
    means: Any = rows.groupby(["way", "run_id", window.rename("window")])[numbers].mean()
    return means.reset_index()


def by_beta(rows: pd.DataFrame, across: Any, up: Any) -> Any:
    """Where DPO of each β ended.

    Args:
      rows: d, reward, beta.
      across, up: the axes.
    """
    base = alt.Chart(rows.assign(words="β").sort_values("d")).encode(x=across, y=up)
    words = base.mark_text(dy=-11, fontSize=11, fill=theme.MUTED).encode(text=alt.Text("beta:Q", format="~g"))
    line = base.mark_line(color=theme.INK, strokeWidth=2, point={"size": 34, "color": theme.INK})
    return alt.layer(line, words)


def over_one(rows: pd.DataFrame, curve: dict[str, Any], sizes: list[float], across: Any, up: Any) -> Any:
    """Points of every reward model, and the curve that was predicted of the largest with its interval.

    Args:
      rows: d, reward and reward_params of one way of optimising.
      curve: what was predicted: kl, loss (the reward), lo, hi.
      sizes: of the reward models, from small to large.
      across, up: the axes.
    """
    values = {name: curve[name] for name in ("kl", "loss", "lo", "hi")}
    predicted = pd.DataFrame(values).assign(d=lambda t: np.sqrt(t["kl"]))
    colour = by_size("size", "Reward model", [theme.si(size) for size in sizes])
    points = alt.Chart(rows.assign(size=[theme.si(n) for n in rows["reward_params"]]).sort_values("d"))
    lines = points.mark_line(strokeWidth=1.5, opacity=0.45)
    band = alt.Chart(predicted).mark_area(opacity=0.16, color=theme.VERIFY, clip=True)
    law = alt.Chart(predicted).mark_line(color=theme.VERIFY, strokeWidth=2, strokeDash=[6, 4], clip=True)
    return alt.layer(
        band.encode(x=across, y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q"),
        lines.encode(x=across, y=up, color=colour),
        points.mark_point(filled=True, size=26, opacity=0.9).encode(x=across, y=up, color=colour),
        law.encode(x=across, y=alt.Y("loss:Q", scale=up["scale"])),
    )


def sft_data(table: pd.DataFrame) -> bytes:
    """Loss and true reward against the number of examples, a colour a size; dashed is the law, the band its
    interval for the largest, which it has not seen.

    Args:
      table: n_params, n_examples, loss, predicted, lo, hi, gold.
    """
    sizes = [theme.si(n) for n in sorted(table["n_params"].unique())]
    table = table.assign(size=[theme.si(n) for n in table["n_params"]])
    across = theme.x("n_examples", "Demonstrations", table["n_examples"])
    base = alt.Chart(table).encode(x=across, color=by_size("size", "Parameters", sizes))
    losses = theme.y("loss", "Loss, nats a response token", table["loss"], label=theme.plain)
    law = base.mark_line(strokeWidth=1.5, strokeDash=[5, 4])
    left = alt.layer(
        band_of_largest(table, across, losses),
        law.encode(y=alt.Y("predicted:Q", scale=losses["scale"])),
        base.mark_point(filled=True, size=48, opacity=1).encode(y=losses),
    ).properties(width=WIDTH, height=HEIGHT, title="Loss, and its law")
    rewards = theme.y("gold", "True reward", table["gold"], log=False, label=theme.plain)
    means = alt.Y("mean(gold):Q", scale=rewards["scale"], axis=rewards["axis"], title=rewards["title"])
    right = alt.layer(
        base.mark_line(strokeWidth=2).encode(y=means), base.mark_point(filled=True, size=30).encode(y=rewards)
    )
    return finished(left | right.properties(width=WIDTH, height=HEIGHT, title="True reward"))


def rl_compute(table: pd.DataFrame) -> bytes:
    """True reward against the compute of each recipe; dashed is the law with its interval, solid where it was
    fitted; a shape a seed.

    Args:
      table: recipe, flops, seed, reward, predicted, lo, hi, known.
    """
    names = list(table["recipe"].drop_duplicates())
    across = theme.x("flops", "FLOPs", table["flops"])
    up = theme.y("reward", "True reward", table["reward"], log=False, label=theme.plain)
    panels = []
    for name in names:
        rows = table[table["recipe"] == name]
        base = alt.Chart(rows).encode(x=across)
        law = base.mark_line(color=theme.VERIFY, strokeWidth=2, clip=True)
        predicted = alt.Y("predicted:Q", scale=up["scale"])
        panels.append(
            alt.layer(
                base.mark_area(color=theme.VERIFY, opacity=0.14, clip=True).encode(
                    y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q"
                ),
                base.mark_point(filled=True, size=26, color=theme.INK, opacity=0.8).encode(
                    y=up, shape=alt.Shape("seed:N", legend=None)
                ),
                law.transform_filter("datum.known").encode(y=predicted),
                alt.Chart(rows)
                .mark_line(color=theme.VERIFY, strokeDash=[5, 4], clip=True)
                .encode(x=across, y=predicted),
            ).properties(width=WIDTH, height=HEIGHT, title=RECIPES.get(name, name))
        )
    return finished(alt.hconcat(*panels))


def reward_model(table: pd.DataFrame) -> bytes:
    """Errors against pairs, a panel a noise, a colour a size; dashed is the law, the band its interval for
    the largest, which it has not seen.

    Args:
      table: n_params, n_pairs, noise, error, predicted, lo, hi.
    """
    sizes = [theme.si(n) for n in sorted(table["n_params"].unique())]
    table = table.assign(size=[theme.si(n) for n in table["n_params"]])
    up = theme.y("error", "Pairs ranked wrongly", table["error"], label=theme.plain)
    across, panels = theme.x("n_pairs", "Pairs", table["n_pairs"]), []
    for noise, rows in table.groupby("noise"):
        base = alt.Chart(rows).encode(x=across, color=by_size("size", "Parameters", sizes))
        panels.append(
            alt.layer(
                band_of_largest(rows, across, up),
                base.mark_line(strokeWidth=1.5, strokeDash=[5, 4], clip=True).encode(
                    y=alt.Y("mean(predicted):Q", scale=up["scale"])
                ),
                base.mark_point(filled=True, size=48, opacity=1).encode(y=up),
            ).properties(width=WIDTH, height=HEIGHT, title=f"Labels at temperature {noise:g}")
        )
    return finished(alt.hconcat(*panels))


def band_of_largest(rows: pd.DataFrame, across: Any, up: Any) -> Any:
    """The interval that was predicted of the largest size.

    Args:
      rows: n_params, lo, hi.
      across, up: the axes.
    """
    largest = pd.DataFrame(rows[rows["n_params"] == rows["n_params"].max()])
    band = alt.Chart(largest).mark_area(opacity=0.14, color=theme.INK, clip=True)
    return band.encode(x=across, y=alt.Y("mean(lo):Q", scale=up["scale"]), y2="mean(hi):Q")


def lora_rank(table: pd.DataFrame) -> bytes:
    """Loss against the rank of adapters, a colour a size; lines are means over seeds, dashed is what training
    all parameters comes to.

    Args:
      table: n_params, rank (0: all parameters), loss.
    """
    sizes = [theme.si(n) for n in sorted(table["n_params"].unique())]
    table = table.assign(size=[theme.si(n) for n in table["n_params"]])
    adapters, whole = (pd.DataFrame(table[rows]) for rows in (table["rank"] > 0, table["rank"] == 0))
    colour = by_size("size", "Parameters", sizes)
    up = theme.y("loss", "Loss, nats a response token", table["loss"], label=theme.plain)
    across = theme.x("rank", "Rank of the adapters", adapters["rank"])
    means = alt.Y("mean(loss):Q", scale=up["scale"])
    base = alt.Chart(adapters).encode(x=across, color=colour)
    floor = alt.Chart(whole).mark_rule(strokeWidth=1.5, strokeDash=[5, 4])
    chart = alt.layer(
        base.mark_point(filled=True, size=40, opacity=1).encode(y=up),
        base.mark_line(strokeWidth=2).encode(y=means),
        floor.encode(y=means, color=colour),
    )
    return finished(chart.properties(width=1.6 * WIDTH, height=HEIGHT))


def probes(table: pd.DataFrame) -> bytes:
    """How likely the right answer is over steps of preference tuning, a panel a behaviour, a colour a size;
    lines are means over seeds, bars the points' 90 % intervals.

    Args:
      table: kind, n_params, steps, right, se.
    """
    sizes = [theme.si(n) for n in sorted(table["n_params"].unique())]
    table = table.assign(
        size=[theme.si(n) for n in table["n_params"]],
        after=table["steps"] + 1,
        lo=table["right"] - 1.64 * table["se"],
        hi=table["right"] + 1.64 * table["se"],
    )
    across = theme.x("after", "Steps, and one", table["after"])
    up = alt.Y("mean(right):Q", title="Right", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    panels = []
    for kind, rows in table.groupby("kind", sort=False):
        base = alt.Chart(rows).encode(x=across, color=by_size("size", "Parameters", sizes))
        panels.append(
            alt.layer(
                base.mark_rule(opacity=0.3).encode(y=alt.Y("lo:Q"), y2="hi:Q"),
                base.mark_point(filled=True, size=24, opacity=0.8).encode(y=alt.Y("right:Q")),
                base.mark_line(strokeWidth=2).encode(y=up),
            ).properties(width=WIDTH * 0.8, height=HEIGHT * 0.75, title=str(kind).capitalize())
        )
    return finished(alt.vconcat(alt.hconcat(*panels[:3]), alt.hconcat(*panels[3:])))


def by_size(field: str, title: str, order: list[str]) -> alt.Color:
    """A colour for each size, from small to large."""
    legend = alt.Legend(title=title, symbolType="circle", symbolOpacity=1)
    return alt.Color(
        f"{field}:N", sort=order, scale=alt.Scale(domain=order, range=theme.ramp(len(order))), legend=legend
    )


def reward_axis(values: Any) -> alt.Y:
    """True reward, less that of the start."""
    return theme.y("reward", "True reward gained", np.asarray(values, float), log=False)


def finished(chart: Any) -> bytes:
    """PNG of a chart with the looks of all figures."""
    config = theme.config()
    config["legend"] |= {"orient": "right", "titleOrient": "top", "offset": 12}
    config["title"] = {"anchor": "start", "fontSize": 13, "fontWeight": 600, "color": theme.INK, "offset": 24}
    config["concat"] = {"spacing": 30}
    return theme.png(chart.configure(**config).to_dict(validate=False))
