"""The picture of the study of form."""

import altair as alt
import pandas as pd

from experiments.studies.posttraining.figures import HEIGHT, WIDTH, finished
from experiments.studies.trust.structured_output.measures import GENERATED, HEADS
from scaling.report import theme

COLOURS = dict(
    zip(
        (*GENERATED, *HEADS),
        ["#8a8f98", "#b7791f", "#c2410c", "#1d4ed8", "#15803d", "#a78bfa", "#7c3aed", "#4c1d95"],
    )
)
PANELS = {"valid": "Valid", "right": "Right when executed", "label": "Right in one field"}


def ways(table: pd.DataFrame) -> bytes:
    """Valid, right, and right in one field, against size: a colour a way.

    Args:
      table: way, n_params, seed, valid, right, label.
    """
    across = theme.x("n_params", "Parameters", table["n_params"])
    colour = alt.Color(
        "way:N",
        sort=list(COLOURS),
        scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
        legend=alt.Legend(title="Way", symbolType="circle", symbolOpacity=1),
    )
    panels = []
    for name, title in PANELS.items():
        base = alt.Chart(pd.DataFrame(table[table[name].notna()])).encode(x=across, color=colour)
        share = alt.Axis(format="%")
        scale = alt.Scale(domain=[0, 1])
        panels.append(
            alt.layer(
                base.mark_point(filled=True, size=22, opacity=0.55).encode(
                    y=alt.Y(f"{name}:Q", scale=scale, axis=share)
                ),
                base.mark_line(strokeWidth=2).encode(
                    y=alt.Y(f"mean({name}):Q", title=None, scale=scale, axis=share)
                ),
            ).properties(width=WIDTH, height=HEIGHT, title=title)
        )
    return finished(alt.hconcat(*panels))
