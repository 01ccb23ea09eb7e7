"""The worked examples of CONTRIBUTING.md: added to a copy of the repository as written, their commands run.

A block that names a file which is not there is that file. One that names a file of the repository edits it:
each line that ends in "# new" goes below the line before it.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", TEXT, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"^```(?:python (\S+)|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = {
    ".venv/bin/pytest": ["pytest", "-q", "-p", "no:cacheprovider"],
    ".venv/bin/isoflop": ["launch.cli"],
}


def edited(text: str, block: str) -> str:
    """`text` with the new lines of a block; its other lines must be there, in this order."""
    lines, place, blank = text.splitlines(), 0, []
    for line in block.splitlines():
        if not line:
            blank.append(line)
        elif line.endswith("  # new"):
            added = [*blank, line.removesuffix("  # new")]
            lines[place:place] = added
            place, blank = place + len(added), []
        else:
            place, blank = lines.index(line, place) + 1, []
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
    for path, block in (found for text in SECTIONS.values() for found in BLOCK.findall(text) if found[0]):
        there = copy / path
        there.write_text(edited(there.read_text(), block) if there.exists() else block)
    return copy


@pytest.mark.parametrize("section", SECTIONS)
def test_an_example_works(section, repository):
    commands = [
        line for path, block in BLOCK.findall(SECTIONS[section]) if not path for line in block.splitlines()
    ]
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
