"""`isoflop init`: what it writes can be planned as it is, and it never writes over a file."""

import json

import pytest

from tests.launch.commands.studies.test_grids import tokens  # noqa: F401
from tests.tiny_run import isoflop


@pytest.mark.parametrize(("name", "file"), [("rates", "rates.toml"), ("mine.py", "mine.py")])
@pytest.mark.usefixtures("tokens")
def test_what_it_writes_is_planned_as_it_is(name, file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert isoflop("init", name) == 0
    assert f"`isoflop plan {file}`" in capsys.readouterr().out
    text = (tmp_path / file).read_text()
    assert f"isoflop plan {file}" in text and "template" not in text
    assert isoflop("plan", file, "--nomemory") == 0
    assert "in all so far: " in capsys.readouterr().out
    assert isoflop("init", name) == 2 and (tmp_path / file).read_text() == text
    assert f"{file} is there already" in capsys.readouterr().err


def test_the_schema_is_json_and_other_kinds_are_refused(tmp_path, capsys):
    assert isoflop("init", "--schema") == 0
    assert json.loads(capsys.readouterr().out)["required"] == ["base"]
    assert isoflop("init", str(tmp_path / "x.yaml")) == 2
    assert "a grid to start from is a .toml file" in capsys.readouterr().err
