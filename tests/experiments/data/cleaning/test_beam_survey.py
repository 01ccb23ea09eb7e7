"""The Beam pipeline on this machine's runner: its counts are those of `survey`."""

import dataclasses
import gzip
import json

import pytest

from experiments.data.composition.counts_file import read_counts
from experiments.data.composition.survey import survey
from experiments.data.sources.left_out import totals
from experiments.data.sources.textfiles import records
from experiments.data_configs import QualityConfig
from tests.experiments.data.quality.test_rules import DROPPED, PROSE

pytest.importorskip("apache_beam", reason="the extra 'beam' is not installed")

from experiments.data.cleaning import beam_survey


def test_shards_are_counted_as_without_beam(tmp_path):
    texts = [*DROPPED.values(), PROSE, PROSE, "Das Haus am Fluss hatte viele Jahre leer gestanden.", " "]
    for shard in range(3):
        own = [{"text": text, "kind": f"k{n % 2}"} for n, text in enumerate(texts) if n % 3 == shard]
        content = "".join(json.dumps(record) + "\n" for record in own).encode() + b'{"no": 1}\n'
        (tmp_path / f"{shard}.jsonl.gz").write_bytes(gzip.compress(content))
    (tmp_path / "notes.md").write_text("no shard")
    quality = QualityConfig(("markup", "gopher"))
    output = tmp_path / "out.counts.json"
    settings = {"input": tmp_path / "*", "output": output, "by": "kind", "vocab": "bytes"}
    settings |= {"quality": json.dumps({"filters": quality.filters})}
    beam_survey.main([f"--{name}={value}" for name, value in settings.items()])
    skipped = {}
    questions = beam_survey.SurveySettings(fields=("kind",), vocab="bytes", quality=quality).questions()
    expected = survey(records(str(tmp_path), skipped=skipped), questions)
    assert totals(skipped) == {"without a string 'text'": 3, "empty": 1}
    assert read_counts(output) == dataclasses.replace(expected, skipped=totals(skipped))
