"""The pictures of the study of consistency, as PNG."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from experiments.studies.posttraining.figures import HEIGHT, WIDTH, band_of_largest, by_size, finished
from scaling.report import theme

SHARE = alt.Scale(domain=[0, 1])
LOWEST = 1e-9  # where a difference of 0 is drawn


def consistency(table: pd.DataFrame, laid_out: pd.DataFrame) -> bytes:
    """Agreement against temperature, of the largest, by exposures; against exposures with its law, by
    size; and what another wording and a slip leave of it.

    Args:
      table: d_model, n_params, seed, temperature, exposures, questioned, agreement, accuracy, and wordings.
      laid_out: rows of the law: target, n_params, n_planted, nats, predicted, lo, hi.
    """
    shown = pd.DataFrame(table[table["questioned"] | (table["exposures"] == 0)])
    largest = pd.DataFrame(shown[shown["d_model"] == shown["d_model"].max()])
    levels = sorted(largest["exposures"].unique())
    names = {n: "no document" if n == 0 else f"{n:g} an epoch" for n in levels}
    largest = largest.assign(facts=[names[n] for n in largest["exposures"]])
    colour = by_size("facts", "Facts stated in", [names[n] for n in levels])
    base = alt.Chart(largest).encode(x=alt.X("temperature:Q", title="Temperature"), color=colour)
    by_temperature = [
        base.mark_line(strokeWidth=2, point={"size": 22})
        .encode(y=alt.Y(f"mean({name}):Q", title=None, scale=SHARE))
        .properties(width=WIDTH, height=HEIGHT, title=title)
        for name, title in (("agreement", "Two answers agree"), ("accuracy", "An answer is right"))
    ]
    kept = [
        largest[largest["temperature"] == 1].assign(asked=title, share=lambda t, name=name: t[name])
        for name, title in (
            ("agreement", "the same"),
            ("trained_wording", "trained wording"),
            ("held_out_wording", "new wording"),
            ("slips", "one character"),
        )
    ]
    order = ["the same", "trained wording", "new wording", "one character"]
    other = alt.Chart(pd.concat(kept)).encode(
        x=alt.X("asked:N", sort=order, title=None, axis=alt.Axis(labelAngle=-25, labelOverlap=False)),
        color=colour,
    )
    wordings = alt.layer(
        other.mark_line(strokeWidth=2).encode(y=alt.Y("mean(share):Q", title=None, scale=SHARE)),
        other.mark_point(filled=True, size=22, opacity=0.6).encode(y=alt.Y("share:Q", scale=SHARE)),
    ).properties(width=WIDTH, height=HEIGHT, title="Agrees with the first wording")
    lower = alt.hconcat(wordings, law(laid_out)).resolve_scale(color="independent")
    return finished(alt.vconcat(alt.hconcat(*by_temperature), lower).resolve_scale(color="independent"))


def law(laid_out: pd.DataFrame) -> Any:
    """How often two answers differ, against exposures, with its law."""
    rows = pd.DataFrame(laid_out[laid_out["target"] == "differ"])
    sizes = [theme.si(n) for n in sorted(rows["n_params"].unique())]
    rows = rows.assign(size=[theme.si(n) for n in rows["n_params"]])
    across = theme.x("n_planted", "Biographies an epoch", rows["n_planted"])
    up = theme.y("nats", "", np.append(rows["nats"], [0.0, 1.0]), log=False, label=theme.plain)
    base = alt.Chart(rows).encode(x=across, color=by_size("size", "Parameters", sizes))
    dashed = base.mark_line(strokeWidth=1.5, strokeDash=[5, 4], clip=True)
    return alt.layer(
        band_of_largest(rows, across, up),
        dashed.encode(y=alt.Y("predicted:Q", scale=up["scale"])),
        base.mark_point(filled=True, size=40, opacity=0.9).encode(y=up),
    ).properties(width=WIDTH, height=HEIGHT, title="Two answers differ, and the law")


def matrix(table: pd.DataFrame) -> bytes:
    """A line a cell: the largest difference of a logit, and shares of texts that differ.

    Args:
      table: of `determinism.matrix`.
    """
    table = table.assign(
        label=table["axis"] + ": " + table["cell"],
        drawn_at=table["max_abs"].clip(lower=LOWEST),
        equal=np.where(table["max_abs"] == 0, "no bit differs", "bits differ"),
    )
    rows = alt.Y("label:N", sort=list(table["label"]), title=None, axis=alt.Axis(labelLimit=260))
    height = 18 * len(table)
    scale = alt.Scale(type="log", domain=[LOWEST, 10])
    axis = alt.Axis(format="~e", values=[1e-9, 1e-7, 1e-5, 1e-3, 1e-1, 10])
    colours = alt.Scale(domain=["no bit differs", "bits differ"], range=[theme.MUTED, theme.VERIFY])
    bits = alt.Chart(table[table["bits"].notna()]).mark_point(filled=True, size=60, opacity=1)
    left = bits.encode(
        y=rows,
        x=alt.X("drawn_at:Q", scale=scale, axis=axis, title="Largest difference of a logit"),
        color=alt.Color("equal:N", scale=colours, title="Logits"),
    )
    texts = table.melt(["label"], ["greedy_prompts", "drawn_prompts"], "how", "share")
    words = {"greedy_prompts": "temperature 0", "drawn_prompts": "drawn at a seed"}
    texts["how"] = [words[name] for name in texts["how"]]
    right = (
        alt.Chart(texts)
        .mark_point(filled=True, size=60, opacity=0.8)
        .encode(
            y=alt.Y("label:N", sort=list(table["label"]), title=None, axis=alt.Axis(labels=False)),
            x=alt.X("share:Q", title="Texts that differ", scale=SHARE, axis=alt.Axis(format="%")),
            color=alt.Color("how:N", scale=alt.Scale(range=[theme.ACCENT, theme.INK]), title="Texts"),
            shape=alt.Shape("how:N", title="Texts"),
        )
    )
    panels = (left.properties(width=WIDTH, height=height), right.properties(width=WIDTH, height=height))
    return finished(alt.hconcat(*panels).resolve_scale(color="independent", shape="independent"))
