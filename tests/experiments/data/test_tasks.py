"""The seqio tasks. The only tests that import TensorFlow into their own process: it takes seconds."""

import dataclasses
import json
import random
from pathlib import Path

import numpy as np
import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from experiments.data import tasks
from experiments.data.cache import EOS, SPLITS, open_cache, read_manifest
from experiments.data.prepare import build
from experiments.data.sources import biographies, textfiles
from experiments.data.splits import split_of, split_source
from experiments.data.vocab import ByteVocab, SentencePieceVocab
from experiments.data.vocabularies import training
from experiments.data_configs import BiographiesConfig, DataConfig, SourceConfig

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
    for tokens, lengths, sizes, _ in tasks.encode(task, split):
        documents += [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])]
        n_bytes += sizes.sum()
    return documents, n_bytes


def test_files_become_tokens_of_the_right_split(config):
    source = tasks.files_source(config, {})
    task = tasks.language_modelling("files", source, training.make_vocabulary(config, source, Path()))
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
    source = tasks.files_source(config, {})
    models = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        theirs = training.make_vocabulary(
            DataConfig(vocab="sentencepiece", vocab_size=400), source, tmp_path / name
        )
        models.append((tmp_path / name / "vocab.model").read_bytes())
    assert models[0] == models[1]
    train = [text.encode() for text in TEXTS if split_of(text.encode()) == "train"]
    assert training.train_sentencepiece(training.sample(train, 10**9), 400) == models[0]

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
        training.train_sentencepiece([text.encode() for text in TEXTS], vocab_size)


def test_sample_is_of_the_stated_size_whatever_the_order():
    documents = [text.encode() for text in TEXTS]
    total = sum(map(len, documents))
    some = training.sample(documents, total // 10)
    assert total / 10 - 300 < sum(map(len, some)) <= total / 10
    assert some == training.sample(reversed(documents), total // 10)
    assert sorted(training.sample(documents, total)) == sorted(documents) and training.sample([], 5) == []


def test_vocabulary_text_is_in_equal_parts_of_components_of_any_size():
    large, small = [text.encode() for text in TEXTS[:300]], [text.encode() for text in TEXTS[300:]]
    members = [("large", text) for text in large] + [("small", text) for text in small]
    n = 2 * sum(map(len, small)) // 5
    found = training.sample_evenly(members, n)
    assert found == training.sample_evenly(reversed(members), n)
    sizes = [sum(len(text) for text in found if text in part) for part in (large, small)]
    assert all(n / 2 - 600 < size <= n / 2 for size in sizes) and sizes[0] + sizes[1] == sum(map(len, found))
    assert set(small) <= set(training.sample_evenly(members, 10**9))


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """Two sources, of which the second repeats the first with something added, and their cache."""
    folder = tmp_path_factory.mktemp("composed")
    records = [{"text": text, "of": "even" if i % 2 else "odd"} for i, text in enumerate(TEXTS)]
    records += [{"text": f"{text} And more.", "of": "again"} for text in TEXTS]
    (folder / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    path = str(folder / "data.jsonl")
    sources = (
        SourceConfig("first", path=path, where="of=odd|even"),
        SourceConfig("again", path=path, where="of=again"),
    )
    config = DataConfig("mixture", sources=sources)
    build(config, folder / "cache")
    return config, folder / "cache"


def test_components_are_grouped_and_near_duplicates_do_not_cross_between_them(composed):
    _, folder = composed
    vocab, found = ByteVocab(), {}
    for split in SPLITS:
        cache = open_cache(folder, split)
        assert list(cache.components) == ["again", "first"]
        for name, part in cache.components.items():
            tokens = cache.tokens[part["start"] : part["start"] + part["n_tokens"]].tolist()
            ends = [i for i, token in enumerate(tokens, 1) if token == EOS]
            texts = [vocab.decode(tokens[a:b]) for a, b in zip([0, *ends], ends)]
            assert all(text.endswith("And more.") == (name == "again") for text in texts)
            assert part["n_documents"] == len(texts)
            assert part["n_bytes"] == sum(len(text.encode()) for text in texts)
            found[split, name] = {text.removesuffix(" And more.") for text in texts}
        assert part["start"] + part["n_tokens"] == len(cache.tokens)
    held_out = [found[split, name] for split in ("validation", "test") for name in ("first", "again")]
    for name in ("first", "again"):
        assert not found["train", name] & set().union(*held_out) and len(found["train", name]) > 300
    info = read_manifest(folder)["splits"]
    assert info["train"]["n_near_duplicates"] > 0


def test_where_components_are_is_part_of_the_fingerprint(composed, tmp_path):
    config, folder = composed
    renamed = tuple(dataclasses.replace(source, name=source.name + "s") for source in config.sources)
    build(dataclasses.replace(config, sources=renamed), tmp_path / "cache")
    one, other = read_manifest(folder), read_manifest(tmp_path / "cache")
    assert one["splits"]["train"]["sha256"] == other["splits"]["train"]["sha256"]
    assert one["fingerprint"] != other["fingerprint"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"by": "lang"}, r"data.by='lang': a document has no such field \(its fields: of\): 'Text 0:"),
        ({"by": "of"}, r"component 'again' is too small, a split of it is empty \(documents: train"),
        ({"where": "of=other"}, "source a: there are no documents with of=other; see its task and path"),
        (
            {"task": "mixture"},
            "data.task='mixture' with 0 data.sources; task 'mixture' is made of sources, and no other",
        ),
        ({"task": "walk"}, r"source a: task='walk' does not exist; did you mean 'walks'\?"),
    ],
)
def test_components_that_are_not_there_are_an_error(changes, message, tmp_path):
    records = [{"text": text, "of": "first"} for text in TEXTS] + [{"text": "x" * 99, "of": "again"}]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    path = str(tmp_path / "data.jsonl")
    config = DataConfig("files", path, **changes) if "by" in changes else None
    with pytest.raises(ValueError, match=message):
        source = None if config else SourceConfig("a", **{"path": path} | changes)
        build(config or DataConfig("mixture", sources=(source,)), tmp_path / "cache")


def store_c4(folder, config: str, train: str, held_out: str) -> None:
    """A folder of TFDS with a small C4: 300 documents to train on, and 100 held out."""

    def rows(texts):
        return tf.data.Dataset.from_tensor_slices({"text": texts, "url": ["u"] * len(texts)})

    features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "url": tfds.features.Text()})
    tfds.dataset_builders.store_as_tfds_dataset(
        name="c4",
        config=config,
        version="3.0.1",
        data_dir=folder,
        features=features,
        split_datasets={train: rows(TEXTS[:300]), held_out: rows(TEXTS[300:])},
    )


@pytest.mark.parametrize("name, config, train", [("c4", "en", "train"), ("mc4", "multilingual", "sw")])
def test_c4_is_read_from_a_tfds_folder(tmp_path, name, config, train):
    store_c4(tmp_path, config, train, "validation" if name == "c4" else f"{train}-validation")
    config = DataConfig(task=name, path=str(tmp_path), language="sw")
    source = tasks.TASKS[name].source(config, {})
    task = tasks.language_modelling(name, source, training.make_vocabulary(config, source, tmp_path))
    vocab = ByteVocab()
    texts = {split: [vocab.decode(ids) for ids in encoded(task, split)[0]] for split in SPLITS}
    assert sorted(texts["train"]) == sorted(TEXTS[:300])
    assert sorted(texts["validation"] + texts["test"]) == sorted(TEXTS[300:])
    assert len(texts["validation"]) == len(texts["test"]) == 50


def test_the_folder_of_a_dataset_of_tfds_is_a_corpus(tmp_path):
    features = {name: tfds.features.Text() for name in ("words", "lang")}
    rows = tf.data.Dataset.from_tensor_slices({"words": [*TEXTS[:50], " "], "lang": ["en"] * 51})
    tfds.dataset_builders.store_as_tfds_dataset(
        name="mine",
        config="plain",
        version="1.0.0",
        data_dir=tmp_path,
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": rows},
    )
    folder, skipped = str(tmp_path / "mine" / "plain" / "1.0.0"), {}
    config = DataConfig(task="tfds", path=folder, text_field="words")
    found = list(tasks.TASKS["tfds"].records(config, skipped))
    assert sorted(document.text for document in found) == sorted(TEXTS[:50])
    assert found[0].fields == {"lang": "en"} and skipped == {folder: {"empty": 1}}
    identity = tasks.TASKS["tfds"].identity(config)
    assert "dataset_info.json" in identity["files"] and identity["text_field"] == "words"
    with pytest.raises(
        ValueError, match=r"no feature 'text' \(it has lang, words\); data.text_field says which"
    ):
        list(tasks.TASKS["tfds"].records(DataConfig(task="tfds", path=folder), {}))


def test_a_dataset_that_tfds_cannot_give_is_refused_in_one_line(monkeypatch):
    def unreachable(name):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds, "builder", unreachable)
    said = (
        r"data.path=imdb_reviews: .* \(ConnectionError: no route to host\); it needs network, or the folder"
    )
    with pytest.raises(ValueError, match=said):
        list(tasks.TASKS["tfds"].records(DataConfig(task="tfds", path="imdb_reviews"), {}))
    with pytest.raises(ValueError, match=r"data.path is empty; task 'tfds' needs data.path=NAME"):
        tasks.TASKS["tfds"].identity(DataConfig(task="tfds"))


def test_c4_may_be_a_component_whose_own_held_out_text_is_not_read(tmp_path):
    store_c4(tmp_path, "multilingual", "sw", "sw-validation")
    mine = [{"text": f"{text[::-1]}.", "of": "mine"} for text in TEXTS[:200]]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(record) + "\n" for record in mine))
    sources = (
        SourceConfig("web", task="mc4", path=str(tmp_path), language="sw"),
        SourceConfig("mine", path=str(tmp_path / "mine.jsonl")),
    )
    build(DataConfig("mixture", sources=sources), tmp_path / "cache")
    manifest = read_manifest(tmp_path / "cache")
    assert manifest["source"]["sources"]["web"]["identity"]["splits"]["train"] == "sw"
    parts = [manifest["splits"][split]["components"] for split in SPLITS]
    assert sum(part["web"]["n_documents"] for part in parts) == 300
    assert sum(part["mine"]["n_documents"] for part in parts) == 200
    vocab, found = ByteVocab(), []
    for split in SPLITS:
        cache = open_cache(tmp_path / "cache", split)
        found += [vocab.decode(cache.tokens[a:b]) for a, b in zip(cache.offsets, cache.offsets[1:])]
    assert not set(found) & set(TEXTS[300:]) and set(TEXTS[:300]) < set(found)


def test_biographies_keep_their_splits_and_every_fact_is_a_token(tmp_path):
    about = BiographiesConfig(n_people=40, exposures=(1, 3), n_junk=5)
    config = DataConfig(task="biographies", vocab="words", vocab_size=1024, biographies=about)
    with pytest.raises(ValueError, match="bytes and words of this text are 261 to") as error:
        build(config, tmp_path)
    folder = tmp_path / "cache"
    folder.mkdir()
    build(dataclasses.replace(config, vocab_size=int(str(error.value).split()[-1])), folder)
    vocab = SentencePieceVocab(folder / "vocab.model")
    for split in SPLITS:
        cache = open_cache(folder, split)
        found = [vocab.decode(cache.tokens[a : b - 1]) for a, b in zip(cache.offsets, cache.offsets[1:])]
        made = biographies.records(about) if split == "train" else biographies.held_out(about, split)
        assert sorted(found) == sorted(document.text for document in made)
    assert all(len(vocab.encode(f" {fact}")) == 1 for fact in biographies.people(about)[7].facts.values())
    odd = "Zürich:  two\n words in nobody's Vocabulary."
    assert vocab.decode(vocab.encode(odd)) == odd


def test_c4_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"data\.task=c4: TensorFlow Datasets has no prepared c4/en"):
        tasks.TASKS["c4"].source(DataConfig(task="c4", path=str(tmp_path)), {})
    with pytest.raises(ValueError, match="mc4 needs a language"):
        tasks.TASKS["mc4"].identity(DataConfig(task="mc4"))


def test_what_is_wrong_with_a_file_is_an_error_before_anything_is_built(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{"no": 1}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2: no string 'text'"):
        split_source(lambda: textfiles.documents(str(tmp_path)))
