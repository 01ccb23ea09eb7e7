"""Text to evaluate on: documents that end with EOS, from files and from a prepared corpus; invalid lines."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.vocab import ByteVocab
from experiments.data_configs import DataConfig
from experiments.evaluate.language_modelling.tokenized_text import TokenizedText, read_files, read_split
from experiments.evaluate.tasks.task import InvalidItem
from tests.tiny_run import DOCUMENTS, make_cache

VOCAB = ByteVocab()
DOCUMENT = st.text(st.characters(codec="utf-8")).filter(str.strip)


def documents(text: TokenizedText) -> list[str]:
    pieces = np.split(text.tokens, text.offsets)
    assert len(pieces[-1]) == 0 and all(piece[-1] == VOCAB.eos_id for piece in pieces[1:-1])
    return [VOCAB.decode(piece) for piece in pieces[1:-1]]


def test_files_become_documents_that_end_with_eos(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "ab"}\n{"text": "c"}\n')
    text = read_files(str(tmp_path / "a.jsonl"), VOCAB)
    assert text.tokens.tolist() == [1, 100, 101, 1, 102, 1]
    assert text.offsets.tolist() == [1, 4, 6]


@given(st.lists(DOCUMENT, max_size=5))
def test_documents_come_back_and_so_does_what_is_said_of_them(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("text")
    lines = [{"text": text, "number": i} for i, text in enumerate(texts)]
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n\n" for line in lines))
    text = read_files(str(folder / "a.jsonl"), VOCAB)
    assert documents(text) == texts and text.invalid == ()
    assert text.fields == tuple({"number": i} for i in range(len(texts)))


def test_lines_without_a_text_are_left_out_and_listed(tmp_path):
    lines = [
        '{"text": "a", "lang": "de"}',
        "{",
        '["text"]',
        '{"text": 1}',
        "",
        '{"text": " "}',
        '{"text": "b"}',
        "[" * 100_000,
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    text = read_files(str(tmp_path / "a.jsonl"), VOCAB)
    assert documents(text) == ["a", "b"] and text.fields == ({"lang": "de"}, {})
    assert [one.line for one in text.invalid] == [2, 3, 4, 6, 8]
    assert text.invalid[-1].reason.startswith("not JSON (")
    assert text.invalid[0].reason.startswith("not JSON (") and set(text.invalid[1:-1]) == {
        InvalidItem(line, "no 'text'") for line in (3, 4, 6)
    }


def test_json_lines_are_what_the_name_ends_with(tmp_path):
    (tmp_path / "a.jsonl.txt").write_text("no JSON\n")
    text = read_files(str(tmp_path / "a.jsonl.txt"), VOCAB)
    assert documents(text) == ["no JSON"] and text.invalid == ()


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    whole = gzip.compress(b'{"text": "a"}\n' * 1000)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=r"a\.jsonl\.gz cannot be read: .*; is it damaged or cut short\?"):
        read_files(str(tmp_path / "a.jsonl.gz"), VOCAB)


def test_of_several_files_every_line_needs_a_text(tmp_path):
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / name).write_text(f'{{"text": "{name}"}}\n')
    text = read_files(str(tmp_path), VOCAB)
    assert documents(text) == ["a.jsonl", "b.jsonl"] and text.fields == ()
    (tmp_path / "b.jsonl").write_text('{"body": "b"}\n')
    with pytest.raises(ValueError, match=r"b\.jsonl:1: no string 'text' in this line \(it has body\)"):
        read_files(str(tmp_path), VOCAB)


def test_half_a_surrogate_is_a_question_mark(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a \\ud800 b"}')
    assert documents(read_files(str(tmp_path / "a.jsonl"), VOCAB)) == ["a ? b"]


def test_a_split_is_that_of_the_cache_with_this_fingerprint(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path))
    data = DataConfig(fingerprint=make_cache(tmp_path / "docstrings-tiny"))
    text = read_split(data, "test")
    assert sorted(documents(text)) == sorted(DOCUMENTS["test"]) and text.offsets[0] == 0
    with pytest.raises(ValueError, match="split 'dev' does not exist"):
        read_split(data, "dev")
