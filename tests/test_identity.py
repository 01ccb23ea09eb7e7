"""What a path names, and when a checkpoint is another one."""

import json
import shutil

import pytest
from tiny_run import isoflop, make_study

from experiments.evaluate import identity
from experiments.evaluate.identity import find_all, fingerprint
from experiments.evaluate.subject import foreign_vocab, open_subject


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identity")
    return make_study(folder / "study", folder / "cache")


@pytest.fixture(autouse=True)
def cache(run, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(run.parents[2] / "cache"))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """A Hugging Face folder that says nothing of us."""
    folder = tmp_path_factory.mktemp("exported") / "hf"
    assert isoflop("export", str(run), "--out", str(folder)) == 0
    (folder / "isoflop.json").unlink()
    return folder


def test_a_copy_is_the_same_checkpoint_and_other_parameters_are_not(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "elsewhere")
    assert fingerprint(copy) == fingerprint(run)
    (copy / "metrics.jsonl").write_text("{}")
    assert fingerprint(copy) == fingerprint(run)
    largest = max((copy / "checkpoints").rglob("params/**/d/*"), key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(bytes(content))
    assert fingerprint(copy) != fingerprint(run)


def test_hashes_of_large_files_are_remembered_until_they_change(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    plain = fingerprint(exported)
    monkeypatch.setattr(identity, "REMEMBERED", 0)
    assert fingerprint(exported) == plain
    monkeypatch.setattr("hashlib.file_digest", None)  # nothing is read again
    assert fingerprint(exported) == plain


def test_a_foreign_folder_needs_a_tokenizer_that_can_be_read(exported):
    config = json.loads((exported / "config.json").read_text())
    (exported / "config.json").write_text(json.dumps(config | {"eos_token_id": 1}))
    with pytest.raises(ValueError, match="no tokenizer that can be read"):
        open_subject(exported)
    (exported / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    subject = open_subject(exported)
    assert subject.vocab.encode("a") == [100] and subject.config.seq_len == 32


def test_a_foreign_sentencepiece_model_is_read(exported, tmp_path):
    from experiments.data.tasks import train_sentencepiece

    texts = [f"the number {i} and the word number {i * i}".encode() for i in range(500)]
    (tmp_path / "tokenizer.model").write_bytes(train_sentencepiece(texts, 300))
    (tmp_path / "config.json").write_text('{"model_type": "llama", "eos_token_id": [7, 8]}')
    vocab = foreign_vocab(tmp_path)
    assert vocab.eos_id == 7 and vocab.decode(vocab.encode("the number")) == "the number"
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="no eos_token_id"):
        foreign_vocab(tmp_path)


def test_a_study_without_finished_runs_is_refused(tmp_path):
    (tmp_path / "runs.csv").write_text("run_id,status,loss\na,diverged,inf\n")
    with pytest.raises(ValueError, match="none of the 0 finished runs"):
        find_all(tmp_path)
