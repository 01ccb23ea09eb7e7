"""The seqio tasks. The only tests that import TensorFlow into their own process: it takes seconds."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from experiments.config import DataConfig
from experiments.data import tasks
from experiments.data.cache import EOS, SPLITS
from experiments.data.prepare import build
from experiments.data.sources import textfiles
from experiments.data.splits import split_of
from experiments.data.vocab import ByteVocab, SentencePieceVocab

WORDS = ["".join(random.Random(i).choices("abcdefghijklmnop", k=2 + i % 9)) for i in range(500)]
TEXTS = [
    f"Text {i}:  {' '.join(random.Random(i).choices(WORDS, k=40))}\n\n\tÜnïcode {chr(0x3042 + i % 50)}.\n"
    for i in range(400)
]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> DataConfig:
    path = tmp_path_factory.mktemp("files") / "data.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return DataConfig(task="files", path=str(path))


def encoded(task: seqio.Task, split: str) -> tuple[list[list[int]], int]:
    """Token lists of the documents of a split, and bytes of text."""
    documents, n_bytes = [], 0
    for tokens, lengths, size in tasks.encode(task, split):
        documents += [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])]
        n_bytes += size
    return documents, n_bytes


def test_files_become_tokens_of_the_right_split(config):
    source = tasks.files_source(config)
    task = tasks.language_modelling("files", source, tasks.make_vocabulary(config, source, Path()))
    vocab = ByteVocab()
    for split in SPLITS:
        texts = [text for text in TEXTS if split_of(text.encode()) == split]
        documents, n_bytes = encoded(task, split)
        assert documents == [[*vocab.encode(text), EOS] for text in texts]
        assert n_bytes == sum(len(text.encode()) for text in texts)
        assert source.num_input_examples(split) == len(texts) > 0


def test_byte_vocabulary_is_that_of_seqio():
    theirs, ours = seqio.ByteVocabulary(), ByteVocab()
    assert (theirs.vocab_size, theirs.eos_id, theirs.pad_id) == (ours.size, ours.eos_id, 0)
    for text in TEXTS[:20]:
        assert theirs.encode(text) == ours.encode(text)
    for ids in ([0, 1, 2, 70, 258, 259, 198, 172], list(range(259))):
        assert theirs.decode(ids[:1]) + theirs._decode(ids) == ours.decode(ids)


def test_sentencepiece_learns_from_train_only_and_loses_nothing(config, tmp_path):
    source = tasks.files_source(config)
    models = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        theirs = tasks.make_vocabulary(
            DataConfig(vocab="sentencepiece", vocab_size=400), source, tmp_path / name
        )
        models.append((tmp_path / name / "vocab.model").read_bytes())
    assert models[0] == models[1]
    train = [text.encode() for text in TEXTS if split_of(text.encode()) == "train"]
    assert tasks.train_sentencepiece(tasks.sample(train, 10**9), 400) == models[0]

    ours = SentencePieceVocab(tmp_path / "a" / "vocab.model")
    assert (ours.size, ours.eos_id) == (theirs.vocab_size, theirs.eos_id) == (400, EOS)
    documents, n_bytes = encoded(tasks.language_modelling("files", source, theirs), "validation")
    texts = [text for text in TEXTS if split_of(text.encode()) == "validation"]
    assert documents == [[*ours.encode(text), EOS] for text in texts]
    assert [ours.decode(document) for document in documents] == texts
    assert n_bytes == sum(len(text.encode()) for text in texts) > 1.2 * sum(map(len, documents))
    for text in ("never seen: ☃ 漢字 \x00\r\n", " </s><unk>  <0x41> ", "\t\n "):
        assert ours.decode(ours.encode(text)) == text and EOS not in ours.encode(text)


def test_too_little_text_is_an_error(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:3]))
    with pytest.raises(
        ValueError, match=r"data.task=files: too little text.*\(documents: train 3, validation 0"
    ):
        build(DataConfig(task="files", path=str(path)), tmp_path / "cache")


@pytest.mark.parametrize("vocab_size", [100, 100_000])
def test_impossible_vocabulary_size_is_an_error(vocab_size):
    with pytest.raises(ValueError, match=f"data.vocab_size={vocab_size}: no SentencePiece vocabulary"):
        tasks.train_sentencepiece([text.encode() for text in TEXTS], vocab_size)


def test_sample_is_of_the_stated_size_whatever_the_order():
    documents = [text.encode() for text in TEXTS]
    total = sum(map(len, documents))
    some = tasks.sample(documents, total // 10)
    assert total / 10 - 300 < sum(map(len, some)) <= total / 10
    assert some == tasks.sample(reversed(documents), total // 10)
    assert sorted(tasks.sample(documents, total)) == sorted(documents) and tasks.sample([], 5) == []


@pytest.mark.parametrize("name, config, train", [("c4", "en", "train"), ("mc4", "multilingual", "sw")])
def test_c4_is_read_from_a_tfds_folder(tmp_path, name, config, train):
    def rows(texts):
        return tf.data.Dataset.from_tensor_slices({"text": texts, "url": ["u"] * len(texts)})

    held_out = "validation" if name == "c4" else f"{train}-validation"
    features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "url": tfds.features.Text()})
    tfds.dataset_builders.store_as_tfds_dataset(
        name="c4",
        config=config,
        version="3.0.1",
        data_dir=tmp_path,
        features=features,
        split_datasets={train: rows(TEXTS[:300]), held_out: rows(TEXTS[300:])},
    )
    config = DataConfig(task=name, path=str(tmp_path), language="sw")
    source = tasks.TASKS[name].source(config)
    task = tasks.language_modelling(name, source, tasks.make_vocabulary(config, source, tmp_path))
    vocab = ByteVocab()
    texts = {split: [vocab.decode(ids) for ids in encoded(task, split)[0]] for split in SPLITS}
    assert sorted(texts["train"]) == sorted(TEXTS[:300])
    assert sorted(texts["validation"] + texts["test"]) == sorted(TEXTS[300:])
    assert len(texts["validation"]) == len(texts["test"]) == 50


def test_c4_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"data\.task=c4: TensorFlow Datasets has no prepared c4/en"):
        tasks.c4_source(DataConfig(task="c4", path=str(tmp_path)))
    with pytest.raises(ValueError, match="mc4 needs a language"):
        tasks.TASKS["mc4"].identity(DataConfig(task="mc4"))


def test_what_is_wrong_with_a_file_is_an_error_before_anything_is_built(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{"no": 1}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2: no string 'text'"):
        tasks.split_source(lambda: textfiles.documents(str(tmp_path)))
