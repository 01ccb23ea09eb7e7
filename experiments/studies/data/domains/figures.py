"""The pictures of the study of domains, as PNG."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

import scaling
from experiments.studies.data.domains.laws import sizes_of
from experiments.studies.data.domains.measures import PRETRAINED, at_equal_tokens, widest
from experiments.studies.data.domains.runs import Settings
from experiments.studies.data.figures import HEIGHT, WIDTH, finished
from scaling.laws.pretraining.transfer import fraction_transferred, transferred
from scaling.report import theme

WAYS = {  # what is drawn, in which colour
    "from scratch, as many passes": "var(--ramp-3)",
    "from scratch, as many FLOPs": "var(--ramp-8)",
    "continued": theme.VERIFY,
}


def matrix(losses: list[dict[str, Any]]) -> bytes:
    """The loss of each model on each text; the darker, the further above the text's best model, up to half a
    nat."""
    table = pd.DataFrame(losses)
    table = table.assign(
        above=table["loss"] - table.groupby("text")["loss"].transform("min"),
        words=[f"{x:.3f}" for x in table["loss"]],
    )
    order = {name: list(dict.fromkeys(table[name])) for name in ("model", "text")}
    base = alt.Chart(table).encode(
        x=alt.X("text:N", title=None, sort=order["text"], axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("model:N", title=None, sort=order["model"], axis=alt.Axis(labelLimit=260)),
    )
    # Above half a nat a model is as good as strange to the text: all of that is one colour.
    colours = alt.Scale(domain=[0, 0.5], range=["#ffffff", theme.ramp(4)[1]], interpolate="rgb", clamp=True)
    legend = alt.Legend(title=["Above the best", "of the column"])
    chart = alt.layer(
        base.mark_rect(stroke="#ffffff", opacity=0.6).encode(
            color=alt.Color("above:Q", scale=colours, legend=legend)
        ),
        base.mark_text().encode(text="words:N"),
    )
    return finished(chart.properties(width=110 * len(order["text"]), height=30 * len(order["model"])))


def losses(
    settings: Settings, table: pd.DataFrame, fits: dict[str, scaling.Fit], found: dict[str, Any]
) -> bytes:
    """Loss on its domain against its unique tokens, of the widest models, a panel a domain: points are runs,
    dashed is the law fitted to all but the last, bars what it said of that, dotted the break-even at equal
    FLOPs.

    Args:
      settings: of the study.
      table: its runs.
      fits: the law of each domain.
      found: domains.json.
    """
    runs = widest(settings, table, replay=0)
    equal = at_equal_tokens(settings, runs)
    ways = [equal[equal["start"] == "scratch"], best_length(runs), equal[equal["start"] == "continued"]]
    points = pd.concat([rows.assign(way=way) for way, rows in zip(WAYS, ways)], ignore_index=True)
    across = theme.x("unique_tokens", "Unique tokens of the domain", points["unique_tokens"])
    up = theme.y("loss", "Loss on the domain, nats per token", points["loss"], label=theme.plain)
    scale, legend = alt.Scale(domain=list(WAYS), range=list(WAYS.values())), alt.Legend(symbolOpacity=1)
    colour = alt.Color("way:N", title=None, scale=scale, legend=legend)
    panels = []
    for domain, fit in fits.items():
        own = alt.Chart(points[points["domain"] == domain]).encode(x=across, color=colour)
        law = alt.Chart(law_lines(settings, fit, sizes_of(table)[-1][1])).mark_line(strokeDash=[5, 4])
        said = pd.DataFrame(each for each in found["verify"] if each["domain"] == domain)
        said = said.assign(
            unique_tokens=settings.verify_tokens, way=[way_of(start) for start in said["start"]]
        )
        bars = alt.Chart(said[["unique_tokens", "lo", "hi", "way"]]).mark_rule(strokeWidth=5, opacity=0.3)
        layers: list[Any] = [
            law.encode(x=across, y=up, color=colour),
            bars.encode(x=across, y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q", color=colour),
            own.mark_point(filled=True, size=44, opacity=0.9).encode(y=up),
        ]
        even = next(e for e in found["break_even"] if (e["domain"], e["equal"]) == (domain, "flops"))
        if even["at"]:
            line = alt.Chart(pd.DataFrame({"unique_tokens": [even["at"]]}))
            layers.append(line.mark_rule(color=theme.MUTED, strokeDash=[2, 3]).encode(x=across))
        panels.append(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=domain))
    return finished(alt.hconcat(*panels))


def best_length(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each domain and part, the runs from scratch of the length that is best in the mean."""
    scratch = runs[runs["start"] == "scratch"]
    mean: Any = scratch.groupby(["domain", "unique_tokens", "read_tokens"])["loss"].mean()
    best = mean.groupby(level=[0, 1]).idxmin()
    keys = pd.MultiIndex.from_frame(pd.DataFrame(scratch[["domain", "unique_tokens", "read_tokens"]]))
    return pd.DataFrame(scratch[keys.isin(best.to_list())])


def law_lines(settings: Settings, fit: scaling.Fit, n_params: float) -> pd.DataFrame:
    """What the law says from scratch and continued: unique_tokens, loss, way."""
    d = np.geomspace(settings.domain_tokens[0], settings.verify_tokens, 40)
    return pd.concat(
        pd.DataFrame(
            {
                "unique_tokens": d,
                "loss": fit.predict(n_params, unique_tokens=d, pretrained=column).loss,
                "way": way_of(start),
            }
        )
        for start, column in PRETRAINED.items()
    )


def way_of(start: str) -> str:
    """The name in WAYS of how a run starts, at equal passes."""
    return list(WAYS)[0 if start == "scratch" else 2]


def transfer(settings: Settings, table: pd.DataFrame, fits: dict[str, scaling.Fit]) -> bytes:
    """Effective data transferred, and its fraction of all effective data, against the domain's tokens by the
    law, a colour a size; the band is the interval of the largest.

    Args:
      settings: of the study.
      table: its runs.
      fits: the law of each domain.
    """
    d, rows = np.geomspace(settings.domain_tokens[0], settings.verify_tokens, 30), []
    for domain, fit in fits.items():
        theta = np.concatenate([np.array([list(fit.params.values())]), fit.samples])[:, None]
        tail = (1 - fit.level) / 2
        for _, n in sizes_of(table):
            for what, function in (("D_T", transferred), ("fraction", fraction_transferred)):
                curves = function(theta, np.array(n), d)
                lo, hi = np.quantile(curves[1:], [tail, 1 - tail], axis=0)
                about = {"domain": domain, "size": theme.si(n), "what": what}
                rows.append(pd.DataFrame({"tokens": d, "at": curves[0], "lo": lo, "hi": hi}).assign(**about))
    lines = pd.concat(rows, ignore_index=True)
    sizes = [theme.si(n) for _, n in sizes_of(table)]
    across = theme.x("tokens", "Unique tokens of the domain, D_F", lines["tokens"])
    colour = alt.Color(
        "size:N", title="Parameters", sort=sizes, scale=alt.Scale(domain=sizes, range=theme.ramp(len(sizes)))
    )
    panels = []
    ups = {
        "D_T": theme.y("at", "Tokens transferred, D_T", lines.loc[lines["what"] == "D_T", "at"]),
        "fraction": theme.y("at", "D_T / (D_F + D_T)", [0, 1], log=False, label="{:.0%}".format),
    }
    for what, up in ups.items():
        of_what = lines[lines["what"] == what]
        for domain in fits:
            own = pd.DataFrame(of_what[of_what["domain"] == domain])
            largest = pd.DataFrame(own[own["size"] == sizes[-1]])
            band = alt.Chart(largest).mark_area(opacity=0.14, color=theme.INK, clip=True)
            panels.append(
                alt.layer(
                    band.encode(x=across, y=alt.Y("lo:Q", scale=up["scale"]), y2="hi:Q"),
                    alt.Chart(own).mark_line(strokeWidth=2, clip=True).encode(x=across, y=up, color=colour),
                ).properties(width=WIDTH * 0.85, height=HEIGHT * 0.8, title=domain)
            )
    k = len(fits)
    return finished(alt.vconcat(alt.hconcat(*panels[:k]), alt.hconcat(*panels[k:])))
