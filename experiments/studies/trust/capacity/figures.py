"""The picture of the study of capacity."""

import altair as alt
import pandas as pd

from experiments.studies.posttraining.figures import HEIGHT, WIDTH, by_size, finished
from scaling.report import theme

KINDS = {"plain": "plain", "gated": "gated", "junk": "junk 1:7", "source": "junk, source named"}


def capacity(table: pd.DataFrame, compared: pd.DataFrame, largest: int) -> bytes:
    """Bits a parameter against exposures, a panel a number of people and a colour a size; and bits a person
    of the compared runs.

    Args:
      table: kind, d_model, n_params, n_people, exposures, bits, bits_lo, bits_hi, predicted, known_bits.
      compared: kind, seed, bits_a_person.
      largest: the width that was predicted.
    """
    grid = pd.DataFrame(table[table["kind"].isin(["plain", "most"])])
    grid = grid.assign(
        size=[theme.si(n) for n in grid["n_params"]],
        law=grid["predicted"] * grid["known_bits"] / grid["n_params"],
        role=["predicted before" if width == largest else "fitted" for width in grid["d_model"]],
    ).sort_values("exposures")
    panels = []
    for n_people, rows in grid.groupby("n_people"):
        rows = pd.DataFrame(rows)
        sizes = [theme.si(n) for n in sorted(rows["n_params"].unique())]
        across = theme.x("exposures", "Exposures of a fact", grid["exposures"])
        up = alt.Y("bits:Q", title="Bits a parameter", scale=alt.Scale(zero=True))
        base = alt.Chart(rows).encode(x=across, color=by_size("size", "Parameters", sizes))
        panels.append(
            alt.layer(
                base.mark_line(strokeWidth=1.5, strokeDash=[5, 4]).encode(y="law:Q"),
                base.mark_rule(opacity=0.6).encode(y=alt.Y("bits_lo:Q"), y2="bits_hi:Q"),
                base.mark_point(filled=True, size=48, opacity=1).encode(
                    y=up, shape=alt.Shape("role:N", title="Law", sort=["fitted", "predicted before"])
                ),
            ).properties(width=WIDTH, height=HEIGHT, title=f"{n_people:,} people")
        )
    named = compared.assign(named=[KINDS[kind] for kind in compared["kind"]])
    points = alt.Chart(named).encode(x=alt.X("named:N", title=None, sort=list(KINDS.values())))
    panels.append(
        alt.layer(
            points.mark_tick(thickness=2, color=theme.INK).encode(y="mean(bits_a_person):Q"),
            points.mark_point(filled=True, size=40, color=theme.ACCENT, opacity=0.8).encode(
                y=alt.Y("bits_a_person:Q", title="Bits learnt of a person")
            ),
        ).properties(width=WIDTH * 0.7, height=HEIGHT, title="Gates, junk, sources")
    )
    return finished(alt.hconcat(*panels))
