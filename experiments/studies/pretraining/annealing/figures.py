"""The pictures of the study of annealing, as PNG."""

import altair as alt
import pandas as pd

from experiments.studies.data.figures import finished
from scaling.report import theme

WIDTH, HEIGHT, COLUMNS = 230, 170, 4


def curves(table: pd.DataFrame) -> bytes:
    """A panel a schedule: training losses, the law's line through them, and the end.

    Args:
      table: schedule, step, loss, training (1, or 0 at the end), law.
    """
    panels = []
    for name, rows in table.groupby("schedule", sort=False):
        rows = pd.DataFrame(rows)
        across, up = (
            theme.x("step", "Step", table["step"]),
            theme.y("loss", "Loss", [*table["loss"], *table["law"]]),
        )
        on_way, end = rows[rows["training"] == 1], rows[rows["training"] == 0]
        layers = [
            alt.Chart(on_way).mark_point(filled=True, size=22, color="#8a8f98").encode(x=across, y=up),
            alt.Chart(on_way)
            .mark_line(strokeWidth=2, color="#1d4ed8")
            .encode(x=across, y=alt.Y("law:Q", scale=up["scale"])),
            alt.Chart(end)
            .mark_point(shape=theme.STAR, filled=True, size=110, color="#b91c1c")
            .encode(x=across, y=up),
        ]
        panels.append(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=str(name)))
    return finished(alt.concat(*panels, columns=COLUMNS))


def predicted(table: pd.DataFrame) -> bytes:
    """What each law predicted of each schedule, with intervals, and what was measured: a row a schedule.

    Args:
      table: schedule, law, predicted, lo, hi, measured.
    """
    across = theme.x("predicted", "Final loss", [*table["lo"], *table["hi"], *table["measured"]])
    up = alt.Y("schedule:N", title=None, sort=list(table["schedule"].unique()))
    colour = alt.Color("law:N", title="Predicted by", sort=list(table["law"].unique()))
    base = alt.Chart(table).encode(y=up, yOffset="law:N", color=colour)
    layers = [
        base.mark_rule(strokeWidth=2).encode(x=alt.X("lo:Q", scale=across["scale"]), x2="hi:Q"),
        base.mark_point(filled=True, size=55, opacity=1).encode(x=across),
        base.mark_point(shape=theme.STAR, filled=True, size=90, color="#b91c1c").encode(
            x=alt.X("measured:Q", scale=across["scale"]), color=alt.value("#b91c1c")
        ),
    ]
    return finished(alt.layer(*layers).properties(width=520, height=280))
