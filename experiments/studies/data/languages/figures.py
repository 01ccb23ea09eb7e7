"""The pictures of the study of languages, as PNG."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

import scaling
from experiments.data.composition.web_languages import LANGUAGES
from experiments.studies.data.figures import finished
from experiments.studies.data.languages.corpus import ENOUGH, UNIMAX, web_share
from scaling.report import theme

CELL = 62  # of a heat map, CSS pixels
COLOURS = ["#2b7a9e", "#f4f1ea", "#b5522a"]  # less, as much, more


def heat_map(sampled: pd.DataFrame) -> bytes:
    """Bits a sentence over those with enough text, in per cent: a row a language by its share of the web, a
    column a sampling.

    Args:
      sampled: sampling, language, ratio, of every seed.
    """
    means: Any = sampled[sampled["sampling"] != ENOUGH].groupby(["language", "sampling"])["ratio"].mean()
    table = means.reset_index().assign(
        excess=lambda t: 100 * (t["ratio"] - 1), row=lambda t: t["language"].map(_with_share)
    )
    table["words"] = [f"{excess:+.1f}".replace("-", "−") for excess in table["excess"]]
    temperatures = sorted((name for name in table["sampling"].unique() if name != UNIMAX), reverse=True)
    rows = [_with_share(name) for name in sorted(table["language"].unique(), key=web_share, reverse=True)]
    most = float(np.abs(table["excess"].to_numpy(float)).max())
    base = alt.Chart(table).encode(
        x=alt.X(
            "sampling:N", title=None, sort=[*temperatures, UNIMAX], axis=alt.Axis(orient="top", labelAngle=0)
        ),
        y=alt.Y("row:N", title=None, sort=rows, axis=alt.Axis(labelLimit=200)),
    )
    colour = alt.Color(
        "excess:Q", title="%, over enough", scale=alt.Scale(domain=[-most, 0, most], range=COLOURS)
    )
    cells = base.mark_rect().encode(color=colour)
    numbers = base.mark_text(fontSize=11).encode(text="words:N")
    title = "Bits a sentence, % over those with enough text of each language"
    size = {"width": CELL * (len(temperatures) + 1), "height": 24 * len(rows)}
    return finished(alt.layer(cells, numbers).properties(title=title, **size))


def cost(costs: pd.DataFrame) -> bytes:
    """Bits against tokens a sentence, a point a language, a panel a vocabulary.

    Args:
      costs: vocabulary, language, tokens, bits.
    """
    up = theme.y("bits", "Bits a sentence", costs["bits"], log=False, label=theme.plain)
    panels = []
    for name, rows in costs.groupby("vocabulary", sort=False):
        across = theme.x("tokens", "Tokens a sentence", rows["tokens"], log=False, label=theme.plain)
        base = alt.Chart(rows).encode(x=across, y=up)
        points = base.mark_point(filled=True, size=40, opacity=1, color=theme.ACCENT)
        names = base.mark_text(align="left", dx=6, dy=-5, fontSize=11).encode(text="language:N")
        panels.append(alt.layer(points, names).properties(width=330, height=300, title=str(name)))
    return finished(alt.hconcat(*panels))


def law(rows: pd.DataFrame, verified: list[dict[str, Any]], fit: scaling.Fit) -> bytes:
    """Bits over those with enough text against the language's tokens, with the law and its interval; stars
    are languages under the sampling that was kept apart, red where the language was kept apart too.

    Args:
      rows: sampling, language_tokens, loss, of all languages.
      verified: language_tokens, ratio, apart, of the sampling that was kept apart.
      fit: of the law.
    """
    stars = pd.DataFrame(verified)
    tokens = pd.concat([rows["language_tokens"], stars["language_tokens"]])
    values = pd.concat([rows["loss"], stars["ratio"]])
    across = theme.x("language_tokens", "Tokens of the language that were read (bytes)", tokens)
    up = theme.y("loss", "Bits a sentence, over those with enough text", values, log=False, label=theme.plain)
    grid = np.geomspace(tokens.min(), tokens.max(), 80)
    line, lo, hi = fit.predict(language_tokens=grid)
    curve = pd.DataFrame({"language_tokens": grid, "loss": line, "lo": lo, "hi": hi})
    base, scale = alt.Chart(curve).encode(x=across), up["scale"]
    ways = list(rows["sampling"].unique())
    colour = alt.Color(
        "sampling:N", title="Sampling", sort=ways, scale=alt.Scale(range=theme.ramp(len(ways)))
    )
    star = alt.Chart(stars.assign(who=["language and sampling" if a else "sampling" for a in stars["apart"]]))
    shapes = alt.Color(
        "who:N",
        title="Kept apart, a star",
        scale=alt.Scale(domain=["sampling", "language and sampling"], range=[theme.INK, theme.VERIFY]),
    )
    chart = alt.layer(
        base.mark_area(opacity=0.12, color=theme.MUTED, clip=True).encode(
            y=alt.Y("lo:Q", scale=scale), y2="hi:Q"
        ),
        base.mark_line(color=theme.MUTED, strokeWidth=2, clip=True).encode(y=up),
        alt.Chart(rows).mark_point(filled=True, size=36, opacity=0.9).encode(x=across, y=up, color=colour),
        star.mark_point(filled=True, size=70, opacity=1, shape=theme.STAR).encode(
            x=across, y=alt.Y("ratio:Q", scale=scale), color=shapes
        ),
    ).resolve_scale(color="independent")
    return finished(chart.properties(width=560, height=360))


def transfer(pairs: pd.DataFrame, languages: list[str]) -> bytes:
    """Two matrices: what a helper's text saves of a learner's bits, and the learner's bits for a model of the
    helper alone.

    Args:
      pairs: learner, helper, gain, strange.
      languages: in the order of rows and columns.
    """
    table = pairs.assign(saved=100 * pairs["gain"])
    table["saved_words"] = [f"{value:+.1f}".replace("-", "−") for value in table["saved"]]
    table["strange_words"] = [f"{value:.2f}" for value in table["strange"]]
    panels = [
        _matrix(table, languages, "saved", "Bits saved by text of the helper, %"),
        _matrix(table, languages, "strange", "Bits under a model of the helper alone, × own"),
    ]
    return finished(alt.hconcat(*panels).resolve_scale(color="independent"))


def _matrix(table: pd.DataFrame, languages: list[str], field: str, title: str) -> Any:
    base = alt.Chart(table).encode(
        x=alt.X("helper:N", title="Helper", sort=languages, axis=alt.Axis(labelAngle=0, orient="top")),
        y=alt.Y("learner:N", title="Learner", sort=languages),
    )
    scale = alt.Scale(range=COLOURS[1:] if field == "strange" else COLOURS[1::-1])
    cells = base.mark_rect().encode(color=alt.Color(f"{field}:Q", scale=scale, legend=None))
    size = CELL * 0.85 * len(languages)
    numbers = base.mark_text(fontSize=11).encode(text=f"{field}_words:N")
    return alt.layer(cells, numbers).properties(width=size, height=size * 0.8, title=title)


def _with_share(language: str) -> str:
    return f"{LANGUAGES[language].name}  {web_share(language):.2%}"
