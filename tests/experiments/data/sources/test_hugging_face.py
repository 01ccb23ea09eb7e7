"""Datasets by name, and folders that their library saved; the hub itself is never asked."""

import json

import pytest

from experiments.data.document import Document
from experiments.data.sources import hugging_face, textfiles
from experiments.data.sources.hugging_face import parse_name
from tests.extras import extra


@pytest.fixture
def datasets(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return extra("datasets", "hf-datasets")


def test_names_have_a_configuration_and_a_revision():
    assert parse_name("a/b") == ("a/b", None, None)
    assert parse_name("a/b:en@1f") == ("a/b", "en", "1f")
    with pytest.raises(ValueError, match="needs a name"):
        parse_name("")


def test_a_dataset_gives_a_document_a_row(tmp_path, datasets):
    folder = tmp_path / "some"
    folder.mkdir()
    rows = [{"body": "one", "votes": 3}, {"body": " ", "votes": 0}, {"body": "two", "votes": 1}]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(hugging_face.records(str(folder), "body"))
    assert found == [Document("one", {"votes": 3}), Document("two", {"votes": 1})]
    with pytest.raises(ValueError, match=r"no column 'text' \(it has body, votes\)"):
        next(hugging_face.records(str(folder)))


def test_a_saved_folder_is_read_by_textfiles(tmp_path, datasets):
    rows = datasets.Dataset.from_dict({"text": ["one", "two", "three"], "id": [1, 2, 3]})
    kept = rows.filter(lambda row: row["id"] != 2)
    datasets.DatasetDict({"train": kept}).save_to_disk(str(tmp_path / "saved"))
    assert [document.text for document in textfiles.records(str(tmp_path / "saved"))] == ["one", "three"]


def test_what_cannot_be_reached_is_said_in_one_line(datasets):
    with pytest.raises(ValueError, match=r"nobody/nothing: this dataset cannot be had .* needs network"):
        next(hugging_face.records("nobody/nothing"))
