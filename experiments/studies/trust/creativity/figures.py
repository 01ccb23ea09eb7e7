"""The pictures of the study of creativity, as PNG."""

from typing import Any

import altair as alt
import pandas as pd

from experiments.evaluate.statistics import intervals
from experiments.studies.posttraining.figures import finished
from experiments.studies.trust.creativity.frontier import BASE
from experiments.studies.trust.creativity.policies import MEASURES
from scaling.report import theme

WIDTH, HEIGHT = 270, 240  # of a panel, CSS pixels
ALONE = "alone"
POLICIES = ["pretrained", "SFT", "DPO", "PPO"]
TITLES = {
    "entropy": "Entropy, nats a response",
    "unique": "Different, of a prompt's",
    "self_bleu": "Self-BLEU in prompts",
    "distinct_2": "Distinct bigrams",
    "across_self_bleu": "Self-BLEU across prompts",
}


def creativity(
    table: pd.DataFrame,
    source: dict[str, float],
    sizes: pd.DataFrame,
    prediction: dict[str, Any],
    level: float,
) -> bytes:
    """Validity against entropy and against 1 - self-BLEU, creative share against entropy, all of the largest
    size; and validity by size with what was predicted.

    Args:
      table: creativity.csv. source: the same measures of the source.
      sizes: n_params, n_tokens, accuracy of each run at temperature 1.
      prediction: prediction.json.
      level: of the intervals over seeds.
    """
    largest: Any = table[table["d_model"] == table["d_model"].max()]
    settings = largest.groupby(["sampler", "number"], sort=False)
    means = settings[["valid", "entropy", "diverse", "creative"]].mean().reset_index()
    for name in ("valid", "creative"):
        ends = settings[name].apply(lambda seeds: intervals.mean(seeds.to_numpy(float), level=level))
        means[f"{name}_lo"] = [end.lo for end in ends]
        means[f"{name}_hi"] = [end.hi for end in ends]
    means["rule"] = means["sampler"].str.split(" at ").str[0]
    hot = [name for name in means["sampler"].unique() if " at " in name]
    heat = f"at {hot[0].split(' at ')[1]}" if hot else ""
    means["heat"] = ["at 1" if " at " not in name else heat for name in means["sampler"]]
    means.loc[means["sampler"] == BASE, "heat"] = ALONE
    top = [
        _panel(means, source, "entropy", "valid", "Entropy, nats", "Valid"),
        _panel(means, source, "diverse", "valid", "1 − self-BLEU", "Valid"),
    ]
    below = [
        _panel(means, source, "entropy", "creative", "Entropy, nats", "Valid, new, different"),
        _by_size(sizes, prediction),
    ]
    return finished(alt.vconcat(alt.hconcat(*top), alt.hconcat(*below)))


def _panel(
    means: pd.DataFrame, source: dict[str, float], across: str, up: str, across_title: str, up_title: str
) -> Any:
    """A line for each sampler through its settings, and a star for the source.

    Args:
      means: rule, heat, sampler, number and the columns that are named.
      source: these of the source.
      across, up: columns.
      across_title, up_title: of the axes.
    """
    star = pd.DataFrame([{across: source[across], up: source[up]}])
    horizontal = theme.x(across, across_title, [*means[across], source[across]], log=False)
    vertical = theme.y(up, up_title, [*means[up], source[up], 0.0], log=False, label=theme.plain)
    rules = list(means["rule"].drop_duplicates())
    colours = alt.Scale(domain=rules, range=[theme.INK, theme.ACCENT, theme.VERIFY, "#8a6d00"][: len(rules)])
    heats = list(means["heat"].drop_duplicates())
    legend = alt.Legend(title="Sampler", symbolOpacity=1)
    base = alt.Chart(means).encode(
        x=horizontal,
        y=vertical,
        color=alt.Color("rule:N", sort=rules, scale=colours, legend=legend),
        detail="sampler:N",
        order="number:Q",
    )
    dashes = alt.Scale(domain=heats, range=[[1, 0], [1, 0], [5, 4]][: len(heats)])
    shapes = alt.Scale(domain=heats, range=["square", "circle", "triangle-up"][: len(heats)])
    lines = base.mark_line(strokeWidth=1.6).encode(
        strokeDash=alt.StrokeDash("heat:N", scale=dashes, legend=None)
    )
    points = base.mark_point(filled=True, size=40, opacity=1).encode(
        shape=alt.Shape("heat:N", scale=shapes, sort=heats, legend=None)
    )
    truth = alt.Chart(star).mark_point(shape=theme.STAR, size=160, filled=True, color=theme.MUTED, opacity=1)
    bars = base.mark_rule(strokeWidth=1, opacity=0.45, clip=True).encode(
        y=alt.Y(f"{up}_lo:Q", scale=vertical["scale"]), y2=f"{up}_hi:Q"
    )
    layers = alt.layer(bars, lines, points, truth.encode(x=horizontal, y=vertical))
    return layers.properties(width=WIDTH, height=HEIGHT)


def _by_size(sizes: pd.DataFrame, prediction: dict[str, Any]) -> Any:
    """Validity at temperature 1 by size, a colour a number of tokens; the bar is the prediction."""
    sizes = sizes.assign(tokens=[theme.si(n) for n in sizes["n_tokens"]])
    order = [theme.si(n) for n in sorted(sizes["n_tokens"].unique())]
    valid = prediction["valid"]
    said = pd.DataFrame([{"n_params": prediction["n_params"], "accuracy": valid["value"]} | valid])
    across = theme.x("n_params", "Parameters", sizes["n_params"])
    up = theme.y(
        "accuracy",
        "Valid at temperature 1",
        [0, *sizes["accuracy"], valid["hi"]],
        log=False,
        label=theme.plain,
    )
    colour = alt.Color(
        "tokens:N",
        title="Tokens",
        sort=order,
        scale=alt.Scale(domain=order, range=theme.ramp(len(order))),
    )
    base = alt.Chart(sizes).encode(x=across, y=up)
    bar = alt.Chart(said).encode(x=across)
    return (
        alt.layer(
            bar.mark_rule(color=theme.VERIFY, strokeWidth=3).encode(
                y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q"
            ),
            bar.mark_point(shape="diamond", size=90, filled=True, color=theme.VERIFY, opacity=1).encode(y=up),
            base.mark_point(filled=True, size=40, opacity=1).encode(color=colour),
        )
        .resolve_scale(color="independent")
        .properties(width=WIDTH, height=HEIGHT)
    )


def policies(table: pd.DataFrame) -> bytes:
    """A panel a measure: each policy and seed a point, the mean a bar.

    Args:
      table: policy, seed, gold, and the measures.
    """
    across = alt.X("policy:N", title=None, sort=POLICIES, axis=alt.Axis(labelAngle=0))
    panels = []
    for name, title in {"gold": "True reward", **TITLES}.items():
        up = theme.y(name, title, [0.0, *table[name]], log=False, label=theme.plain)
        base = alt.Chart(table).encode(x=across)
        mean = alt.Y(f"mean({name}):Q", scale=up["scale"])
        panels.append(
            alt.layer(
                base.mark_tick(color=theme.VERIFY, thickness=2.5, size=34).encode(y=mean),
                base.mark_point(filled=True, size=34, color=theme.INK, opacity=0.7).encode(y=up),
            ).properties(width=200, height=150)
        )
    assert set(TITLES) == set(MEASURES)
    return finished(alt.vconcat(alt.hconcat(*panels[:3]), alt.hconcat(*panels[3:])))
