"""Three ways to JSON, on a model that knows what it writes."""

import json
from pathlib import Path

import jax.numpy as jnp
import pytest

from experiments.data.vocab import ByteVocab
from experiments.evaluate.loaded_model import LoadedModel
from experiments.evaluate.structured import json_documents
from experiments.evaluate.structured.json_documents import (
    DocumentSampling,
    compare,
    is_valid,
    repaired,
    summary,
)
from tests.models.decoding.test_sample import bigram_model

SCHEMA = {"type": "array", "items": {"type": "integer"}, "maxItems": 3}


class Config:
    seq_len = 128


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """Writes "[7,7,7,…" most of the time, and never an end."""
    after = {"\n": "[", "[": "7", "7": ",", ",": "7"}
    table = jnp.zeros((259, 259)).at[:, 3 + ord("7")].set(4.0)
    for one, other in after.items():
        table = table.at[3 + ord(one), 3 + ord(other)].set(30.0)
    table = table.at[3 + ord("7"), 3 + ord("]")].set(15.0)
    return LoadedModel(Path(), Config(), bigram_model(259), table, ByteVocab())  # type: ignore[arg-type]


def test_what_is_cut_short_is_mended_and_what_is_constrained_is_valid(loaded):
    open_ended = {"type": "array", "items": {"type": "integer"}}
    schemas = {"three": SCHEMA, "any": open_ended}
    found = compare(loaded, schemas, DocumentSampling(n=3, max_tokens=12)).set_index(["method", "schema"])
    assert list(found.loc["prompt"]["valid"]) == [0, 0]
    assert list(found.loc["repair"]["valid"]) == [0, 1]  # mended JSON may still be too long
    assert found.loc["constrained", "three"].valid == 1
    assert found.loc["prompt", "any"].tokens == 12 > found.loc["constrained", "three"].tokens
    assert (found.seconds > 0).all()
    means = summary(found.reset_index()).set_index("method")
    assert means.loc["repair", "valid"] == 0.5


def test_a_schema_that_cannot_be_enforced_is_refused_by_its_name(loaded):
    with pytest.raises(ValueError, match="odd: schema #: keyword 'uniqueItems'"):
        compare(loaded, {"fine": SCHEMA, "odd": {"uniqueItems": True}}, DocumentSampling())


def test_validity_is_of_one_whole_document():
    assert is_valid("[1, 2]", SCHEMA)
    for text in ("[1, 2", "[1] [2]", "[1, 2, 3, 4]", '["1"]', ""):
        assert not is_valid(text, SCHEMA)
    assert json.loads(repaired("Sure: [1, 2")) == [1, 2]


def test_wrong_arguments_are_a_line(tmp_path, capsys):
    (tmp_path / "schemas.jsonl").write_text('{"id": "a"}\n')
    arguments = ["structured", str(tmp_path), "--schemas", str(tmp_path / "schemas.jsonl"), "--out", "x"]
    assert json_documents.main(arguments) == 2
    assert json_documents.main(["structured"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert 'line 1: expected an object with "schema"' in first and "--schemas FILE" in second
