"""The pictures of the study of what models make up, as PNG."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from experiments.studies.data.figures import HEIGHT, WIDTH, by_size, finished
from scaling.report import theme

WHY = (
    "Left: how often the likeliest value is wrong, by the biographies read of a person; points are runs, "
    "dashed is the law fitted to all sizes but the largest. Right: the same over the whole corpus, the more "
    "of it is about people who occur once; the line is where error and rate of singletons are equal."
)
AFTER = (
    "Left: wrong regions behind the model's own wrong city, behind the true one in its place, without "
    "either, and behind another city that the prompt tells, by what was taught: facts alone, "
    "counterfactual cities too, and these with own words marked; every seed a point. Right: accuracy on "
    "known facts that were not taught, by the unknown ones taught that are fitted; every run a point."
)

BEHIND = {
    "after_own": "own wrong city",
    "after_truth": "true city",
    "alone": "nothing",
    "of_told": "told city",
}


def why(errors: pd.DataFrame, singletons: pd.DataFrame) -> bytes:
    """Errors by exposures and size, with the law; errors over the corpus by the rate of singletons.

    Args:
      errors: n_params, exposures, error, predicted.
      singletons: singletons, wrong.
    """
    sizes = [theme.si(n) for n in sorted(errors["n_params"].unique())]
    errors = errors.assign(size=[theme.si(n) for n in errors["n_params"]])
    colour = by_size("size", "Parameters", sizes)
    across = theme.x("exposures", "Biographies read of a person", errors["exposures"])
    up = theme.y("error", "Share stated wrongly", [0, 1], log=False, label=theme.plain)
    base = alt.Chart(errors).encode(x=across, color=colour)
    law = base.mark_line(strokeDash=[5, 4], strokeWidth=1.5)
    law = law.encode(y=alt.Y("mean(predicted):Q", scale=up["scale"], axis=up["axis"], title=up["title"]))
    left = alt.layer(law, base.mark_point(filled=True, size=36, opacity=0.8).encode(y=up))

    rate = theme.x("singletons", "Rate of singletons", [0, 1], log=False, label=theme.plain)
    share = theme.y("wrong", "Share stated wrongly", [0, 1], log=False, label=theme.plain)
    equal = alt.Chart(pd.DataFrame({"singletons": [0, 1], "wrong": [0, 1]})).encode(x=rate, y=share)
    points = alt.Chart(singletons).mark_point(filled=True, size=48, opacity=0.8, color=theme.VERIFY)
    right = alt.layer(equal.mark_line(color=theme.MUTED), points.encode(x=rate, y=share))
    panels = {"By exposures": left, "Over the corpus": right}
    return _beside(panels)


def after(believed: pd.DataFrame, taught: pd.DataFrame) -> bytes:
    """Wrong regions by what was taught and what stands before; accuracy by unknown facts fitted.

    Args:
      believed: way, seed, and a column of each of BEHIND.
      taught: share_unknown, fitted_unknown, accuracy, steps, repaired.
    """
    rows = believed.melt(["way", "seed"], list(BEHIND), "behind").assign(
        behind=lambda each: each["behind"].map(BEHIND)
    )
    of_way = alt.X("way:N", title="Taught", sort=None, axis=alt.Axis(labelAngle=0))
    apart = alt.XOffset("behind:N", sort=list(BEHIND.values()))
    colour = alt.Color("behind:N", title="Behind", sort=list(BEHIND.values()))
    up = theme.y("value", "Share of wrong regions", [0, 1], log=False, label=theme.plain)
    left = alt.Chart(rows).mark_point(filled=True, size=40, opacity=0.8)
    left = left.encode(x=of_way, xOffset=apart, color=colour, y=up)
    kinds = [f"{n} steps" for n in sorted(set(taught["steps"]))] + ["repaired"]
    taught = taught.assign(
        fitted=np.nan_to_num(taught["share_unknown"] * taught["fitted_unknown"]),
        kind=["repaired" if r else f"{n} steps" for n, r in zip(taught["steps"], taught["repaired"])],
    )
    across = theme.x(
        "fitted", "Unknown facts fitted, of all taught", taught["fitted"], log=False, label=theme.plain
    )
    right = alt.Chart(taught).mark_point(filled=True, size=48, opacity=0.8)
    right = right.encode(
        x=across,
        y=theme.y("accuracy", "Accuracy on known facts", [0, 1], log=False, label=theme.plain),
        color=alt.Color("kind:N", title="Fine-tuned", sort=kinds),
        shape=alt.Shape("kind:N", sort=kinds, legend=None),
    )
    return _beside({"After a mistake": left, "After fine-tuning": right})


def _beside(panels: dict[str, Any]) -> bytes:
    each = (panel.properties(width=WIDTH, height=HEIGHT, title=title) for title, panel in panels.items())
    return finished(alt.hconcat(*each).resolve_scale(color="independent", shape="independent"))
