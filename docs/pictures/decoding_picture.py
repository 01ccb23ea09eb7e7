"""Draws decoding.png: what each processor of models/decoding does to one distribution of twelve tokens.

python -m docs.pictures.decoding_picture
"""

import zlib
from pathlib import Path

import altair as alt
import jax
import numpy as np
import pandas as pd
import vl_convert

from models.decoding import history, processors
from models.decoding.settings import SamplingSettings

PROBABILITIES = np.array([30, 20, 13, 10, 8, 6, 5, 3, 2, 1.5, 1, 0.5]) / 100
TOKENS = [chr(ord("a") + i) for i in range(len(PROBABILITIES))]
TEXT = [0, 1, 0, 3, 0]  # "abada": sampled so far, so that "ab" and "ad" are bigrams of the text
PANELS = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0},
    {"temperature": 0.0},
    {"top_k": 4},
    {"top_p": 0.75},
    {"min_p": 0.2},
    {"typical_p": 0.3},
    {"epsilon_cutoff": 0.04},
    {"eta_cutoff": 0.1},
    {"repetition_penalty": 1.5},
    {"presence_penalty": 1.0},
    {"frequency_penalty": 1.0},
    {"no_repeat_ngram_size": 2},
    {"logit_bias": ((5, 1.5), (0, -np.inf))},
    {"min_new_tokens": 9},
]


def shaped(values: dict) -> np.ndarray:
    """The distribution that is sampled after "abada" with these settings; token l ends a text."""
    said = history.begin([[]], [TEXT], len(TOKENS), 8)
    logits_BV = np.log(PROBABILITIES, dtype=np.float32)[None]
    settings = SamplingSettings(**values).arrays(len(TOKENS))
    out_V = np.asarray(jax.jit(processors.process)(logits_BV, said, settings, len(TOKENS) - 1))[0]
    weights_V = np.exp(out_V - out_V.max())
    return weights_V / weights_V.sum()


def name(values: dict) -> str:
    if "logit_bias" in values:
        return "logit_bias f +1.5, a −inf"
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "the model's own"


def smaller(png: bytes) -> bytes:
    """The same picture, compressed as well as zlib can: a quarter of what the renderer writes."""
    chunks, at = {}, 8
    while at < len(png):
        n = int.from_bytes(png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + n]
        chunks[kind], at = chunks.get(kind, b"") + data, at + 12 + n
    chunks[b"IDAT"] = zlib.compress(zlib.decompress(chunks[b"IDAT"]), 9)
    parts = [
        len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
        for kind, data in chunks.items()
    ]
    return png[:8] + b"".join(parts)


def main() -> None:
    rows = [
        {"panel": name(values), "token": token, "probability": p, "before": before}
        for values in PANELS
        for token, p, before in zip(TOKENS, shaped(values), PROBABILITIES)
    ]
    token = alt.X("token:N", title=None, axis=alt.Axis(labelAngle=0, ticks=False))
    base = alt.Chart(pd.DataFrame(rows)).encode(x=token)
    probability = alt.Y("probability:Q", title=None, axis=alt.Axis(format="%", values=[0, 0.5, 1]))
    bars = base.mark_bar(color="#4c78a8").encode(y=probability)
    ticks = base.mark_tick(color="#222", thickness=1.2).encode(y="before:Q")
    panel = alt.Facet("panel:N", sort=[name(values) for values in PANELS], title=None)
    chart = alt.layer(bars, ticks).properties(width=130, height=60).facet(panel, columns=4)
    chart = chart.configure_axis(grid=False).configure_view(stroke=None)
    png = vl_convert.vegalite_to_png(chart.to_json(), scale=1.5)
    (Path(__file__).parent / "decoding.png").write_bytes(smaller(png))


if __name__ == "__main__":
    main()
