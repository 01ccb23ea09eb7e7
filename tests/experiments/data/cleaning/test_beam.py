"""The Beam pipeline on this machine's runner: what it keeps is what `decide` keeps."""

import json
from collections import Counter

import pytest

from experiments.data.cleaning.decision import decide
from experiments.data.document import Document
from experiments.data_configs import DuplicatesConfig, QualityConfig
from tests.experiments.data.cleaning.test_decision import nothing, planted
from tests.experiments.data.quality.test_rules import DROPPED, PROSE

pytest.importorskip("apache_beam", reason="the extra 'beam' is not installed")

from experiments.data.cleaning import beam


def test_what_is_kept_is_what_is_kept_without_beam(tmp_path):
    documents = [*planted(), *(("", Document(text)) for text in (*DROPPED.values(), PROSE, "", "a\0b"))]
    quality, duplicates = QualityConfig(("markup", "gopher.symbols")), {"lines": 30, "substring": 50}
    decision = decide(documents, quality, DuplicatesConfig(**duplicates), nothing)
    expected = Counter(text.decode() for _, text in decision.read(documents))
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"text": document.text, "n": 1}) + "\n" for _, document in documents)
    )
    beam.main(
        [
            *("--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out")),
            *("--quality", json.dumps({"filters": quality.filters}), "--duplicates", json.dumps(duplicates)),
        ]
    )
    records = [
        json.loads(line) for path in tmp_path.glob("out-*.jsonl") for line in path.read_text().splitlines()
    ]
    assert Counter(record["text"] for record in records) == expected
    assert all(record["n"] == 1 for record in records)
    (report,) = tmp_path.glob("out-removed*.json")
    removed = dict(json.loads(line) for line in report.read_text().splitlines())
    assert removed == {name: each for name, each in decision.report["filters"].items() if each["n_documents"]}
