"""A user's own files: every format and compression, and one clear line where something is wrong."""

import bz2
import gzip
import json
import lzma
import os

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from experiments.data.document import Document
from experiments.data.sources.left_out import totals
from experiments.data.sources.textfiles import PART_BYTES, documents, find, identity, records

TEXTS = ["Two words.", "Drei Wörter hier.\nZweite Zeile.", "  indented", "日本語"]
COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


def jsonl(texts) -> bytes:
    return "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)).encode()


def read(path) -> list[str]:
    return [document.decode() for document in documents(str(path))]


@pytest.mark.parametrize("compression", COMPRESS)
def test_jsonl_gives_a_document_a_line(tmp_path, compression):
    path = tmp_path / f"data.jsonl{compression}"
    path.write_bytes(COMPRESS[compression](b"\xef\xbb\xbf" + jsonl([*TEXTS, " "]) + b"\n"))
    assert read(path) == TEXTS


@pytest.mark.parametrize("compression", COMPRESS)
def test_text_is_cut_at_blank_lines(tmp_path, compression):
    paragraphs = [f"Paragraph {i}. " + "word " * 300 for i in range(40)]
    path = tmp_path / f"book.txt{compression}"
    path.write_bytes(COMPRESS[compression]("\n\n".join(paragraphs).encode()))
    found = read(path)
    assert "\n\n".join(found) == "\n\n".join(paragraphs)
    assert all(PART_BYTES <= len(document) + 2 <= 2 * PART_BYTES for document in found[:-1])


def test_text_without_blank_lines_is_cut_at_lines(tmp_path):
    (tmp_path / "log.txt").write_text("".join(f"line {i}\n" for i in range(5000)))
    found = read(tmp_path / "log.txt")
    assert len(found) > 3 and "\n".join(found) == "\n".join(f"line {i}" for i in range(5000))


def test_concatenated_zst_frames_are_all_read(tmp_path):
    path = tmp_path / "data.jsonl.zst"
    path.write_bytes(zstandard.compress(jsonl(TEXTS[:2])) + zstandard.compress(jsonl(TEXTS[2:])))
    assert read(path) == TEXTS


def test_parquet_gives_a_document_a_row(tmp_path):
    table = pyarrow.table({"text": TEXTS, "url": ["u"] * len(TEXTS)})
    pyarrow.parquet.write_table(table, tmp_path / "data.parquet", row_group_size=2)
    assert read(tmp_path / "data.parquet") == TEXTS


@pytest.mark.parametrize("kind", ["stream", "file"])
def test_arrow_gives_a_document_a_row(tmp_path, kind):
    table = pyarrow.table({"url": ["u"] * len(TEXTS), "text": TEXTS})
    writer = {"stream": pyarrow.ipc.new_stream, "file": pyarrow.ipc.new_file}[kind]
    with writer(tmp_path / "data-00000-of-00001.arrow", table.schema) as out:
        out.write_table(table, max_chunksize=3)
    assert list(records(str(tmp_path))) == [Document(text, {"url": "u"}) for text in TEXTS]


def test_extracts_of_wikipedia_are_json_lines_without_a_suffix(tmp_path):
    (tmp_path / "AA").mkdir()
    (tmp_path / "AA" / "wiki_00").write_bytes(jsonl(TEXTS[:2]))
    (tmp_path / "AA" / "wiki_01.bz2").write_bytes(bz2.compress(jsonl(TEXTS[2:])))
    assert read(tmp_path) == TEXTS


def test_records_keep_the_other_fields(tmp_path):
    line = {"id": 7, "body": "words", "meta": {"votes": 3}}
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    pyarrow.parquet.write_table(pyarrow.table({k: [v] for k, v in line.items()}), tmp_path / "b.parquet")
    expected = Document("words", {"id": 7, "meta": {"votes": 3}})
    assert list(records(str(tmp_path), "body")) == [expected] * 2


def test_what_is_empty_is_counted(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl(["one", "", " \n"]))
    skipped = {}
    for _ in range(2):  # as often as it is read
        assert [document.text for document in records(str(tmp_path), skipped=skipped)] == ["one"]
    assert skipped == {str(tmp_path / "a.jsonl"): {"empty": 2}}


WRONG_LINES = {
    "not JSON": b'{"text": \n',
    "without a string 'text'": b'{"txt": "no"}\n',
    "not UTF-8": '{"text": "café"}\n'.encode("latin-1"),
    "with NUL bytes": b'{"text": "a\\u0000b"}\n',
    "longer than 20 MB": b'{"text": "%s"}\n' % (b"x" * 20_000_001),
    "empty": b'{"text": " "}\n',
}


def test_wrong_lines_are_left_out_where_they_are_counted(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl(TEXTS) + b"".join(WRONG_LINES.values()))
    (tmp_path / "b.txt").write_bytes(
        b"word " * 1000 + b"\n\n" + b"\xff\xfe line\n" + b"word " * 1000 + b"\n\nend"
    )
    (tmp_path / "c.jsonl.gz").write_bytes(damaged(".gz"))
    rows = pyarrow.table({"text": ["a", None, "b"]})
    pyarrow.parquet.write_table(rows, tmp_path / "d.parquet")
    skipped = {}
    found = [document.text for document in records(str(tmp_path), skipped=skipped)]
    assert found[: len(TEXTS)] == TEXTS and found[-2:] == ["a", "b"]
    assert found[len(TEXTS)] == "word " * 1000 and found[len(TEXTS) + 1] == "end"
    assert len(found) > 1000  # what came before the cut
    assert skipped.pop(str(tmp_path / "a.jsonl")) == dict.fromkeys(WRONG_LINES, 1)
    assert totals(skipped) == {
        "not UTF-8": 1,
        "cut short or damaged": 1,
        "without a string 'text'": 1,
    }


def test_a_file_with_as_many_wrong_lines_as_right_ones_is_an_error(tmp_path):
    """As after a slip in data.text_field; what is no fault of the file does not count."""
    (tmp_path / "a.jsonl").write_bytes(jsonl(["one", " ", " "]) + WRONG_LINES["not JSON"])
    with pytest.raises(ValueError, match=r"a.jsonl:4: not JSON.*\(1 records are wrong here, and 1 are not\)"):
        list(records(str(tmp_path), skipped={}))


def test_nul_and_a_line_of_megabytes_are_text_where_nobody_counts(tmp_path):
    texts = ["a\0b", "x" * 10_000_000]
    (tmp_path / "a.jsonl").write_bytes(jsonl(texts))
    assert read(tmp_path) == texts


def test_a_file_is_read_once_whatever_links_there_are(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl(TEXTS))
    (tmp_path / "again.jsonl").symlink_to(tmp_path / "a.jsonl")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert read(tmp_path) == read(tmp_path / "**" / "*.jsonl") == TEXTS


def test_folders_and_patterns_are_read_in_order(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    for name in ("b/2.jsonl", "a.jsonl", "b/1.jsonl.gz", "notes.md", "c.csv"):
        data = jsonl([name])
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read(tmp_path) == ["a.jsonl", "b/1.jsonl.gz", "b/2.jsonl"]
    assert read(tmp_path / "b" / "*.jsonl") == ["b/2.jsonl"]
    monkeypatch.chdir(tmp_path)
    assert read("**/*.jsonl") == ["a.jsonl", "b/2.jsonl"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("~/b/2.jsonl") == ["b/2.jsonl"]


def test_lone_surrogates_become_question_marks(tmp_path):
    (tmp_path / "data.jsonl").write_text('{"text": "a \\ud800 b"}')
    assert read(tmp_path / "data.jsonl") == ["a ? b"]


def test_identity_changes_with_the_files(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(jsonl(TEXTS))
    before = identity(str(path))
    assert before == identity(str(path))
    os.utime(path, (1, 1))
    touched = identity(str(path))
    path.write_bytes(jsonl(TEXTS[:1]))
    assert len({json.dumps(i) for i in (before, touched, identity(str(path)))}) == 3


def damaged(compression: str) -> bytes:
    data = COMPRESS[compression](jsonl([os.urandom(20).hex() for _ in range(20_000)]))
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.jsonl", b'{"text": "fine"}\n{"txt": "no"}\n', r"a.jsonl:2: no string 'text'.*\(it has txt\)"),
        ("a.jsonl", b'{"text": "fine"}\n\n{"text": null}\n', "a.jsonl:3: no string 'text'"),
        ("a.jsonl", b'["text"]\n', "a.jsonl:1: no string 'text'.*list"),
        ("a.jsonl", b'{"text": "fine"}\n{"text": \n', "a.jsonl:2: not JSON"),
        ("a.jsonl", b'{"text": "\xff"}\n', "a.jsonl:1: not UTF-8"),
        ("a.txt", b"fine\n\xe9t\xe9\n", "a.txt:2: not UTF-8"),
        ("a.jsonl.gz", damaged(".gz"), "a.jsonl.gz cannot be read.*cut short"),
        ("a.jsonl.xz", damaged(".xz"), "a.jsonl.xz cannot be read.*cut short"),
        ("a.jsonl.zst", damaged(".zst"), "a.jsonl.zst cannot be read.*cut short"),
        ("a.jsonl.xz", b"not xz at all", "a.jsonl.xz cannot be read"),
        ("a.jsonl.bz2", damaged(".bz2"), "a.jsonl.bz2 cannot be read.*cut short"),
        ("a.parquet", b"not a table", "a.parquet cannot be read"),
        ("a.arrow", b"not a table", "a.arrow cannot be read"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:1: not JSON"),
        ("a.csv", b"text\n", "unknown kind of file '.csv'; known are .txt, .jsonl, .parquet, .arrow, .warc"),
        ("a.parquet.gz", b"", "unknown kind of file '.gz'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_parquet_needs_text_in_every_row(tmp_path):
    path = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", None]}), path)
    with pytest.raises(ValueError, match="row 2 has no string 'text' but None"):
        read(path)
    pyarrow.parquet.write_table(pyarrow.table({"body": ["a"]}), path)
    with pytest.raises(ValueError, match=r"no column 'text' \(it has body\)"):
        read(path)


def test_unreadable_file_is_said(tmp_path):
    path = tmp_path / "data.jsonl"
    path.symlink_to(tmp_path / "loop")
    (tmp_path / "loop").symlink_to(path)
    with pytest.raises(ValueError, match="no such file or folder"):
        find(str(path))


@pytest.mark.parametrize("path", ["", "nowhere", "nowhere/*.jsonl"])
def test_missing_path_is_said(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match="data.path is empty" if not path else f"data.path={path}".replace("*", ".")
    ):
        find(path)


def test_folder_without_text_is_said(tmp_path):
    (tmp_path / "a.csv").write_text("text\n")
    with pytest.raises(ValueError, match=r"no text files among the 1 files there; known are \.txt"):
        find(str(tmp_path))
