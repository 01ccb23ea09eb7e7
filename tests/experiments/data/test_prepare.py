"""Preparation from outside: what is made once is found, changes are noticed, nothing half-written stays."""

import dataclasses
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.data import prepare as preparing
from experiments.data.cache import EOS, SPLITS, is_whole, open_cache, read_manifest
from experiments.data.prepare import cache_name, find_cache, prepare
from experiments.data.sources import docstrings
from experiments.data.vocab import load_vocab
from experiments.data_configs import DataConfig
from experiments.fields import to_json
from tests.extras import extra

WORDS = ["".join(random.Random(i).choices("abcdefghijklmnop", k=2 + i % 9)) for i in range(500)]
TEXTS = [f"Text {i}. " + " ".join(random.Random(i).choices(WORDS, k=60)) for i in range(400)]


def write_corpus(path: Path, texts: list[str] = TEXTS) -> DataConfig:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return DataConfig(task="files", path=str(path))


def start(config: DataConfig, root: Path) -> subprocess.Popen:
    """`prepare` in a process of its own, that prints the folder; it leads a process group."""
    code = """
import json, sys
from experiments.data_configs import DataConfig
from experiments.fields import from_json
from experiments.data.prepare import prepare
print(prepare(from_json(DataConfig, json.loads(sys.argv[1])), sys.argv[2]))
"""
    command = [sys.executable, "-c", code, json.dumps(to_json(config)), str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def request(config: DataConfig, root: Path) -> str:
    """What `prepare` asks of the process that does the work."""
    return json.dumps({"configs": [to_json(config)], "root": str(root), "code": []})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> tuple[DataConfig, Path]:
    """A small corpus and the folder of caches it is prepared in."""
    folder = tmp_path_factory.mktemp("corpus")
    config = write_corpus(folder / "data.jsonl")
    prepare(config, folder / "caches")
    return config, folder / "caches"


def test_cache_holds_the_text(prepared):
    config, root = prepared
    vocab, found = load_vocab(config), []
    for split in SPLITS:
        cache = open_cache(prepare(config, root), split)
        documents = [cache.tokens[a:b] for a, b in zip(cache.offsets, cache.offsets[1:])]
        assert all(document[-1] == EOS for document in documents)
        texts = [vocab.decode(document) for document in documents]
        assert cache.n_bytes == sum(len(text.encode()) for text in texts)
        found += texts
    assert sorted(found) == sorted(TEXTS)


def test_manifest_has_where_the_tokens_come_from(prepared):
    config, root = prepared
    manifest = read_manifest(prepare(config, root))
    assert manifest["task"] == "files" and manifest["licence"]
    assert list(manifest["source"]["files"]) == [config.path]
    assert manifest["tokenizer"]["name"] == "bytes" and len(manifest["tokenizer"]["sha256"]) == 64
    assert sum(manifest["splits"][split]["n_documents"] for split in SPLITS) == len(TEXTS)
    assert all(manifest["splits"][split]["n_near_duplicates"] == 0 for split in SPLITS)
    assert any(text.startswith(manifest["example"]) for text in TEXTS) and len(manifest["example"]) > 100
    assert len(manifest["fingerprint"]) == 64


def test_prepared_data_need_no_other_process_and_no_tensorflow(prepared, monkeypatch):
    config, root = prepared
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("started a process"))
    assert prepare(config, root) == find_cache(config, root)
    code = "import sys, experiments.data.prepare; print('tensorflow' in sys.modules, 'seqio' in sys.modules)"
    monkeypatch.undo()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_killed_and_concurrent_preparations_end_with_one_good_cache(prepared, tmp_path):
    config, root = prepared
    fingerprint = read_manifest(prepare(config, root))["fingerprint"]
    killed = start(config, tmp_path)
    while not list(tmp_path.glob(".*.tmp*/train")):  # it is writing now
        assert killed.poll() is None
        time.sleep(0.01)
    os.killpg(killed.pid, 9)
    killed.wait()
    assert find_cache(config, tmp_path) is None
    assert list(tmp_path.glob(".*.tmp*"))

    both = [start(config, tmp_path) for _ in range(2)]
    folders = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert folders == {str(tmp_path / cache_name(config))}
    assert is_whole(folders.pop()) and read_manifest(prepare(config, tmp_path))["fingerprint"] == fingerprint
    assert [path.suffix for path in tmp_path.glob(".*")] == [".lock"]  # nothing else is left


def test_changed_text_makes_another_cache_but_planned_runs_keep_theirs(prepared, tmp_path):
    planned, root = prepared
    fingerprint = read_manifest(prepare(planned, root))["fingerprint"]
    shutil.copytree(root, tmp_path / "caches")
    config = dataclasses.replace(planned, path=str(tmp_path / "data.jsonl"))
    write_corpus(tmp_path / "data.jsonl", TEXTS[:-1])
    assert find_cache(config, tmp_path / "caches") is None
    fixed = dataclasses.replace(config, fingerprint=fingerprint)
    assert find_cache(fixed, tmp_path / "caches") == tmp_path / "caches" / cache_name(planned)


def test_other_data_than_planned_are_refused(prepared):
    config, root = prepared
    with pytest.raises(ValueError, match="data have changed since this was planned"):
        prepare(dataclasses.replace(config, fingerprint="0" * 64), root)


def test_damaged_cache_is_made_again(prepared, tmp_path, monkeypatch):
    config, root = prepared
    shutil.copytree(root, tmp_path / "caches")
    folder = prepare(config, tmp_path / "caches")
    (folder / "test" / "tokens.bin").write_bytes(b"")
    assert find_cache(config, tmp_path / "caches") is None

    def rebuilt(config, built):
        shutil.copytree(root / folder.name, built, dirs_exist_ok=True)

    monkeypatch.setattr(preparing, "build", rebuilt)
    assert preparing.main(request(config, tmp_path / "caches")) == 0
    assert is_whole(folder) and not list((tmp_path / "caches").glob(".*.tmp*"))


def test_cache_name_changes_with_all_that_decides_the_tokens(tmp_path, monkeypatch):
    config = write_corpus(tmp_path / "data.jsonl")
    names = {cache_name(config)}
    names.add(cache_name(dataclasses.replace(config, vocab="sentencepiece", vocab_size=1000)))
    names.add(cache_name(dataclasses.replace(config, vocab="sentencepiece", vocab_size=2000)))
    names.add(cache_name(DataConfig()))
    monkeypatch.setattr(docstrings.platform, "python_version", lambda: "3.99")
    names.add(cache_name(DataConfig()))
    os.utime(config.path, (1, 1))
    names.add(cache_name(config))
    assert len(names) == 6
    assert cache_name(dataclasses.replace(config, fingerprint="1")) in names


def write_tokenizer(path: Path, size: int, **settings: str) -> Path:
    from experiments.data.vocabularies.parity import train_parity_bpe

    extra("tokenizers", "hf")
    path.write_text(train_parity_bpe({"en": TEXTS}, size))
    path.with_name("tokenizer_config.json").write_text(json.dumps(settings))
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("prepares_here")
def test_a_tokenizer_of_the_user_makes_the_tokens(tmp_path):
    """With an end token of its own: id 2."""
    tokenizer = write_tokenizer(tmp_path / "tokenizer.json", 300, eos_token="<unk>")
    config = dataclasses.replace(write_corpus(tmp_path / "data.jsonl"), vocab=str(tokenizer), vocab_size=300)
    cache = open_cache(prepare(config, tmp_path / "caches"), "validation")
    vocab = load_vocab(config, tmp_path / "caches")
    assert vocab.eos_id == 2 and cache.manifest["tokenizer"]["eos_id"] == 2
    documents = [cache.tokens[a:b].tolist() for a, b in zip(cache.offsets, cache.offsets[1:])]
    assert {vocab.decode(ids[:-1]) for ids in documents} <= set(TEXTS) and {ids[-1] for ids in documents} == {
        2
    }
    assert len(cache.tokens) < 0.9 * cache.n_bytes

    moved = dataclasses.replace(config, vocab=str(tmp_path / "moved.json"))
    shutil.copy(tokenizer, moved.vocab)
    assert cache_name(moved) == cache_name(config)  # its content counts, not its path
    before = cache_name(config)
    tokenizer.with_name("tokenizer_config.json").unlink()
    assert cache_name(config) != before  # the end token is another
    tokenizer.unlink()
    found = dataclasses.replace(config, fingerprint=cache.manifest["fingerprint"])
    assert load_vocab(found, tmp_path / "caches").encode("Text") == vocab.encode("Text")


def test_a_tokenizer_that_does_not_fit_is_said(tmp_path):
    tokenizer = write_tokenizer(tmp_path / "tokenizer.json", 300)
    config = dataclasses.replace(write_corpus(tmp_path / "data.jsonl"), vocab=str(tokenizer))
    with pytest.raises(
        ValueError, match=r"vocab_size=259; .*tokenizer.json has 300 tokens: data.vocab_size=300"
    ):
        cache_name(config)
    tokenizer.write_text(tokenizer.read_text().replace("</s>", "<stop>"))
    with pytest.raises(ValueError, match="has no token that ends a text"):
        cache_name(config)


@pytest.mark.slow
@pytest.mark.usefixtures("prepares_here")
@pytest.mark.parametrize("vocab", ["unigram", "parity_bpe"])
def test_vocabularies_are_trained_on_the_corpus(tmp_path, vocab):
    extra("tokenizers", "hf")
    config = dataclasses.replace(write_corpus(tmp_path / "data.jsonl"), vocab=vocab, vocab_size=320)
    cache = open_cache(prepare(config, tmp_path / "caches"), "validation")
    ids = cache.tokens[: cache.offsets[1]].tolist()
    assert load_vocab(config, tmp_path / "caches").decode(ids[:-1]) in TEXTS and ids[-1] == EOS


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"task": "docstring"}, "data.task='docstring' does not exist; did you mean 'docstrings'"),
        ({"task": "wikipedia"}, "data.task='wikipedia' does not exist; there are docstrings, files, c4"),
        ({"vocab": "byte"}, "data.vocab='byte'; allowed are 'bytes', 'sentencepiece'"),
        ({"vocab": "no.json"}, "no.json is no tokenizer that can be read"),
        ({"vocab_size": 256}, "data.vocab_size=256; 'bytes' has 259"),
        ({"task": "files"}, "data.path is empty"),
        ({"task": "files", "path": "nowhere.txt"}, "data.path=nowhere.txt: no such file or folder"),
    ],
)
def test_a_wrong_configuration_is_an_error_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        prepare(DataConfig(**changes), tmp_path / "caches")
    assert not (tmp_path / "caches").exists()


def test_wrong_text_is_an_error_of_one_line_and_leaves_nothing(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "fine"}\n{"txt": "no"}\n')
    with pytest.raises(ValueError, match=r"^\S*data.jsonl:2: no string 'text' .*$") as raised:
        prepare(DataConfig(task="files", path=str(path)), tmp_path / "caches")
    assert "\n" not in str(raised.value)
    assert [name.suffix for name in (tmp_path / "caches").iterdir()] == [".lock"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    config = write_corpus(tmp_path / "data.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"token cache in \S*caches cannot be written: .*set ISOFLOP_CACHE"):
        prepare(config, tmp_path / "file" / "caches")


def test_full_disk_leaves_nothing(tmp_path, monkeypatch, capsys):
    config = write_corpus(tmp_path / "data.jsonl")

    def build(config, folder):
        (folder / "train").mkdir()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(preparing, "build", build)
    assert preparing.main(request(config, tmp_path / "caches")) == 2
    assert "No space left on device; make room" in capsys.readouterr().out
    assert [path.suffix for path in (tmp_path / "caches").iterdir()] == [".lock"]
