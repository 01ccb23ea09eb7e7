"""`isoflop prepare`: what is kept and what is not, in words and as JSON; wrong input in one line."""

import io
import json
import random
import re

import pytest

from experiments.data.prepare import prepare
from experiments.data_configs import DataConfig
from launch import cli

WORDS = ["".join(random.Random(i).choices("abcdefghijklmnop", k=2 + i % 9)) for i in range(500)]
TEXTS = [f"Text {i}: {' '.join(random.Random(i).choices(WORDS, k=40))}." for i in range(300)]


@pytest.mark.slow
def test_what_is_kept_and_what_is_not_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    texts = [*TEXTS, TEXTS[0], TEXTS[0], f"<html>{TEXTS[1]}</html>", "NUL \0", ""]
    lines = [json.dumps({"text": text}) + "\n" for text in texts]
    (tmp_path / "crawl.jsonl").write_bytes("".join([*lines, "{\n"]).encode() + b'{"text": "\xff"}\n')
    settings = {"task": "files", "path": tmp_path / "crawl.jsonl"}
    settings |= {"quality": '{"filters": ["markup"]}', "duplicates": "{}"}
    command = ["prepare", *(f"--set=data.{name}={value}" for name, value in settings.items())]
    assert cli.main(command) == 0
    printed = capsys.readouterr()
    words = "1 with NUL bytes, 1 empty, 1 not JSON, 1 not UTF-8"
    assert f"left out while reading: {words}" in printed.out and words in printed.err
    assert "cleaned: 303 documents" in printed.out
    first, ids = printed.out.partition("in tokens of bytes (259 there are):\n")[2].splitlines()[:2]
    assert re.fullmatch(r" +\d+ tokens  T\|e\|x\|t\| \|\d.* …", first) and ids.split()[:4] == [
        "87",
        "104",
        "123",
        "119",
    ]
    words = " ".join(printed.out.split())
    assert "equal texts 2" in words and "markup.page 1 has <html>: <html>Text 1:" in words
    assert cli.main([*command, "--json"]) == 0
    printed = capsys.readouterr()
    manifest = json.loads(printed.out)
    assert not printed.err  # nothing was read again
    assert manifest["skipped"] == {"with NUL bytes": 1, "empty": 1, "not JSON": 1, "not UTF-8": 1}
    assert sum(split["n_documents"] for split in manifest["splits"].values()) == 300
    assert manifest["folder"].startswith(str(tmp_path / "cache"))


def test_a_terminal_sees_how_far_it_is_and_nothing_stays_of_that(tmp_path, monkeypatch):
    """`main` runs in another process, which says it in lines; here a script says the same."""
    lines = ["progress: preparing data: 7 documents read, 1 s", "data.path=x: no such file"]
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + "exit 2\n")
    script.chmod(0o755)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.executable", str(script))
    monkeypatch.setattr("sys.stderr", terminal)
    with pytest.raises(ValueError, match=r"^data.path=x: no such file$"):
        prepare(DataConfig(task="walks"), tmp_path / "cache")
    clear = "\r\033[K"
    assert terminal.getvalue() == f"{clear}preparing data: 7 documents read, 1 s{clear}"


def test_wrong_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.jsonl").write_text('{"body": "words"}\n' * 9)
    assert cli.main(["prepare", "--set=data.task=files", f"--set=data.path={tmp_path / 'a.jsonl'}"]) == 2
    err = capsys.readouterr().err
    assert "a.jsonl:1: no string 'text'" in err and err.count("\n") == 1
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
