"""The worked examples of CONTRIBUTING.md: added to a copy of the repository as written, their commands run;
and those of docs/howto/extending.md, which stay in a folder of their own.

A block of Python is the file that it names; a diff adds lines to one of the repository's.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch import cli

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", TEXT, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```(python|diff|csv|sh) ?(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = {
    ".venv/bin/pytest": ["pytest", "-q", "-p", "no:cacheprovider", "--assert=plain"],
    ".venv/bin/isoflop": ["launch.cli"],
}


def edited(text: str, diff: str) -> str:
    """`text` with the added lines of a diff; its other lines must be there, in this order."""
    lines, place = text.splitlines(), 0
    for mark, line in ((line[0], line[1:]) for line in diff.splitlines()):
        if mark == "+":
            lines.insert(place, line)
            place += 1
        else:
            place = lines.index(line, place) + 1
    return "\n".join(lines) + "\n"


def not_needed(folder: str, names: list[str]) -> set[str]:
    return {"__pycache__", *(["data"] if Path(folder) == ROOT / "tests" else [])}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy of the repository with all examples."""
    copy = tmp_path_factory.mktemp("examples")
    for name in ("models", "scaling", "experiments", "launch", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=not_needed)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for kind, path, block in BLOCK.findall(TEXT):
        if kind == "python":
            (copy / path).write_text(block)
        elif kind == "diff":
            (copy / path).write_text(edited((copy / path).read_text(), block))
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_an_example_works(section, repository):
    blocks = [block for kind, _, block in BLOCK.findall(SECTIONS[section]) if kind == "sh"]
    commands = [line for block in blocks for line in block.splitlines()]
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        module, *options = COMMANDS[program]
        environment = os.environ | {"PYTHONPATH": str(repository), "ISOFLOP_CACHE": str(repository / "cache")}
        ran = subprocess.run(
            [sys.executable, "-m", module, *options, *arguments],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}"
        assert "pytest" not in program or " passed" in ran.stdout


def test_the_examples_are_of_the_repository(repository):
    """Sorted, checked and allowed to import what they import, as the rest is."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_architecture.py"],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]


@pytest.mark.slow
def test_things_of_ones_own_work_from_files_outside_of_the_repository(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    for kind, path, block in BLOCK.findall((ROOT / "docs" / "howto" / "extending.md").read_text()):
        if kind != "sh":
            Path(path).write_text(block)
            continue
        for command in block.splitlines():
            assert cli.main(shlex.split(command)[1:]) == 0, f"{command}\n{capfd.readouterr()}"
    said = capfd.readouterr().out
    for part in ("over 2 seeds", "successor", "hestness: loss = E + B / D^beta"):
        assert part in said
