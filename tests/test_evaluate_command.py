"""`isoflop evaluate`: its numbers are those of the library, on a split or a file, printed and written."""

import json
from pathlib import Path

import pytest
from tiny_run import DOCUMENTS, isoflop, make_study

from experiments.evaluate.perplexity import perplexity
from experiments.evaluate.subject import open_subject
from experiments.evaluate.text import read_files, read_split


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    return make_study(folder / "study", folder / "cache")


@pytest.fixture(autouse=True)
def cache(run, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(run.parents[2] / "cache"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(run.parents[2] / "xla"))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_in_json(run, split, capsys, tmp_path):
    out = tmp_path / "r.json"
    assert isoflop("evaluate", str(run), "--split", split, "--json", "--out", str(out)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == printed
    subject = open_subject(run)
    text = read_split(subject.config.data, split)
    found = perplexity(subject.model, subject.params, text, subject.vocab, context=32)
    assert printed["loss"] == pytest.approx(found.loss.value)
    assert printed["bits_per_byte_ci"] == pytest.approx([found.bits_per_byte.lo, found.bits_per_byte.hi])
    assert printed["n_documents"] == 12 and printed["resampled"] == "documents" and printed["text"] == split
    # The stream's first token has nothing before it and is not counted.
    assert printed["n_bytes"] == sum(len(document) for document in DOCUMENTS[split]) - 1
    assert printed["n_tokens"] == printed["n_bytes"] + 12


def test_a_file_of_the_users_own(run, capsys, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("Grüße aus dem Süden.\n")
    assert isoflop("evaluate", str(run), "--file", str(file), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    subject = open_subject(run)
    found = perplexity(
        subject.model, subject.params, read_files(str(file), subject.vocab), subject.vocab, context=32
    )
    assert printed["loss"] == pytest.approx(found.loss.value)
    assert printed["n_bytes"] == len("Grüße aus dem Süden.".encode())
    assert printed["loss_ci"] == [None, None] and printed["loss_se"] is None


def test_the_table_is_for_people(run, capsys):
    assert isoflop("evaluate", str(run)) == 0
    out = capsys.readouterr().out
    assert "12 documents" in out and "nats/token" in out and "bits per byte" in out
    assert "90% interval" in out and "intervals resample documents" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one run or study folder"),
        (["RUN", "--split", "train", "--file", "x.txt"], "both --split and --file"),
        (["RUN", "--split", "dev"], "split"),
        (["RUN", "--file", "/nowhere.txt"], "/nowhere.txt"),
        (["RUN", "--out", "/nowhere/r.json"], "no folder /nowhere"),
        (["/nowhere"], "/nowhere is neither a run"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(run, arguments, message, capsys):
    assert isoflop("evaluate", *(str(run) if a == "RUN" else a for a in arguments)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


def test_a_run_without_a_checkpoint_is_refused(run, capsys, tmp_path):
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    assert isoflop("evaluate", str(tmp_path)) == 2
    assert "has no checkpoints" in capsys.readouterr().err
