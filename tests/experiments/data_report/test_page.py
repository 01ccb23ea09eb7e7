"""The page of a corpus: its numbers, and nothing that could run or be loaded."""

import itertools
import json
import re

import numpy as np
import pandas as pd

from experiments.data.composition.survey import Questions, survey
from experiments.data.document import Document
from experiments.data.quality.verdict import at_least
from experiments.data_report.page import NAME_SIZE, _named, page

TEXTS = {
    "a.example": "The house by the river was empty for many years. ",
    "b.example": "Das Haus am Fluss war leer. ",
}


def test_a_page_has_sections_and_figures():
    documents = [
        Document(text * (1 + i % 3), {"url": f"http://{host}/", "kind": "<b>x</b>"})
        for host, text in TEXTS.items()
        for i in range(40)
    ]
    filters = {"words": lambda document: at_least(11, len(document.text.split()), "words")}
    html = page("my <corpus>", survey(documents, Questions(fields=("kind",), filters=filters), n_sample=60))
    assert "my &lt;corpus&gt;" in html and "<b>x</b>" not in html
    for title in ("Languages", "Domains", "Kind", "Lengths", "Quality"):
        assert f"<h2>{title}</h2>" in html
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
    expected = {"languages", "speakers", "group_domain", "group_kind", "lengths", "filters", "score_words"}
    assert set(data["specs"]) == expected
    bars = data["specs"]["score_words"]["datasets"]
    assert sum(row["share"] for part in bars.values() for row in part) > 0.999
    assert {row["n_lo"] < 11 for row in bars["goes"] if row["documents"]} == {True}
    assert {row["n_hi"] > 11 for row in bars["stays"] if row["documents"]} == {True}
    drawn = data["specs"]["languages"]["datasets"]["languages"]
    assert {row["name"] for row in drawn} == {"English", "German"}
    assert sum(row["share"] for row in drawn) > 0.999


def test_names_do_not_cover_each_other():
    rows = [{"name": str(i), "speakers": 10.0 ** (i / 40), "share": 0.01 + 0.0001 * i} for i in range(100)]
    named = _named(pd.DataFrame(rows))
    assert {"0", "99"} <= set(named["name"]) and len(named) < 25
    across, up = np.log10(named["speakers"]) / 2.475, np.log10(named["share"]) / np.log10(0.0199 / 0.01)
    for i, j in itertools.combinations(range(len(named)), 2):
        width, height = abs(across.iloc[i] - across.iloc[j]), abs(up.iloc[i] - up.iloc[j])
        assert width > NAME_SIZE[0] or height > NAME_SIZE[1]
