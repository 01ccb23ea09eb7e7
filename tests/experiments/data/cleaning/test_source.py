"""Cleaned corpora as prepare.py asks for them; imports TensorFlow, as test_tasks does."""

import dataclasses
import json
import random

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from experiments.data.cache import SPLITS, read_manifest
from experiments.data.cleaning.source import cleaned_source, identity
from experiments.data.prepare import cache_name, main
from experiments.data.splits import split_of
from experiments.data_configs import DataConfig, DuplicatesConfig, QualityConfig
from experiments.fields import from_json, to_json

WORDS = ["".join(random.Random(i).choices("abcdefghijklmnop", k=2 + i % 9)) for i in range(500)]
TEXTS = [f"Text {i}: {' '.join(random.Random(i).choices(WORDS, k=60))}." for i in range(300)]
COPIES = [TEXTS[k].replace("Text", "A text") for k in range(0, 300, 10)]
DIRT = [f"<html><body>{TEXTS[k]}</body></html>" for k in range(5)]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> DataConfig:
    path = tmp_path_factory.mktemp("files") / "data.jsonl"
    texts = enumerate(TEXTS + COPIES + DIRT)
    records = [{"text": text, "votes": k % 4, "lang": "ab"[k % 2]} for k, text in texts]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return DataConfig(
        task="files",
        path=str(path),
        quality=QualityConfig(("markup",)),
        duplicates=DuplicatesConfig(near=0.8),
    )


def texts(source, split: str) -> list[str]:
    return [each["text"].decode() for each in source.get_dataset(split, shuffle=False).as_numpy_iterator()]


def test_files_lose_dirt_and_copies_before_they_are_split(config):
    source, report = cleaned_source(config, {})
    found = {split: texts(source, split) for split in SPLITS}
    for split, own in found.items():
        assert {split_of(text.encode()) for text in own} == {split}
    kept = sorted(text for own in found.values() for text in own)
    expected = [TEXTS[k] if k % 10 else COPIES[k // 10] for k in range(300)]  # the longer of two stays
    assert kept == sorted(expected)
    assert report["filters"]["markup.page"]["n_documents"] == 5 and report["duplicates"]["near"] == 30


def test_components_are_cleaned_as_one_corpus(config):
    source, report = cleaned_source(
        dataclasses.replace(config, by="lang", quality=QualityConfig(("votes",))), {}
    )
    examples = list(source.get_dataset("train", shuffle=False).as_numpy_iterator())
    assert {each["component"] for each in examples} == {b"b"}  # even records have less than three votes
    assert report["filters"]["votes"]["n_documents"] == 335 - 83


def test_c4_keeps_its_held_out_text_and_loses_copies_of_it_from_training(tmp_path, config):
    def rows(some):
        return tf.data.Dataset.from_tensor_slices({"text": some, "url": ["u"] * len(some)})

    features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "url": tfds.features.Text()})
    tfds.dataset_builders.store_as_tfds_dataset(
        name="c4",
        config="en",
        version="3.0.1",
        data_dir=tmp_path,
        features=features,
        split_datasets={"train": rows(COPIES + TEXTS[100:] + DIRT), "validation": rows(TEXTS[:100])},
    )
    c4 = dataclasses.replace(config, task="c4", path=str(tmp_path))
    source, report = cleaned_source(c4, {})
    found = {split: texts(source, split) for split in SPLITS}
    assert sorted(found["validation"] + found["test"]) == sorted(TEXTS[:100])
    expected = [TEXTS[k] if k % 10 else COPIES[k // 10] for k in range(100, 300)]
    assert sorted(found["train"]) == sorted(expected)
    assert report["duplicates"]["near"] == 30
    assert source.num_input_examples("train") == 200


def test_what_is_kept_is_a_part_of_the_identity_and_stands_in_the_manifest(config, tmp_path, capsys):
    assert identity(dataclasses.replace(config, quality=None, duplicates=None)) == {}
    changes = [
        {"quality": None},
        {"duplicates": None},
        {"quality": QualityConfig(("markup", "gopher"))},
        {"duplicates": DuplicatesConfig(near=0.5)},
        {"duplicates": DuplicatesConfig(near=0.8, against=config.path)},
    ]
    names = {cache_name(config), *(cache_name(dataclasses.replace(config, **change)) for change in changes)}
    assert len(names) == 6
    assert from_json(DataConfig, to_json(config)) == config
    assert main(json.dumps({"configs": [to_json(config)], "root": str(tmp_path), "code": []})) == 0
    manifest = read_manifest(tmp_path / cache_name(config))
    assert manifest["cleaning"]["filters"]["markup.page"]["examples"][0]["text"].startswith("<html>")
    assert sum(manifest["splits"][split]["n_documents"] for split in SPLITS) == 300
    assert manifest["source"]["cleaning"]["filters"] == ["markup.page", "markup.tags"]


def test_a_wrong_filter_is_an_error_before_anything_is_read(config):
    with pytest.raises(ValueError, match="no filter 'markups'; did you mean 'markup'"):
        cache_name(dataclasses.replace(config, quality=QualityConfig(("markups",))))
