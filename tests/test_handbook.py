"""The handbook: its links, and that it builds without a warning."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.studies import STUDIES
from launch.cli import VERBS, main
from tests.extras import extra

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
NAMED_IN_CODE = re.compile(r"\b(?:docs|benchmarks)/[\w/]+\.(?:md|png)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_pages_that_code_names_are_there():
    rooms = ("models", "scaling", "experiments", "launch", "tests", "benchmarks")
    texts = [path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py")]
    named = {name for text in texts for name in NAMED_IN_CODE.findall(text)}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_errors_that_are_explained_are_those_of_the_code():
    rooms = ("models", "scaling", "experiments", "launch")
    joined = [
        re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for r in rooms for path in (ROOT / r).rglob("*.py")
    ]
    titles = re.findall(r"^### (.*)", (ROOT / "docs/faq.md").read_text(), re.MULTILINE)
    quoted = [words for title in titles for words in re.findall(r"`([^`]+)`", title)]
    assert len(quoted) > 15
    assert [words for words in quoted if not any(words in text for text in joined)] == []


@pytest.mark.slow
def test_the_gallery_has_every_study_and_no_number_that_was_not_measured():
    pages = extra("docs.pages", "docs")
    found = dict(pages.CARD.findall((ROOT / "docs/gallery/index.md").read_text()))
    assert set(found) == set(STUDIES)
    for name, text in found.items():
        numbers = re.findall(r"(?<!\w)[−-]?\d(?:[\d.,e]*\d)?", text)
        assert [number for number in numbers if number not in pages.measured(name)] == [], name
        assert ("Not measured" in text) == (not pages.measured(name))


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    extra("mkdocs", "docs")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    ran = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-5000:]
    assert {path.stem for path in tmp_path.glob("commands/*.html")} == set(VERBS)
    assert "predicted" in (tmp_path / "results.html").read_text()


NUMBER = re.compile(r"\d[\d,]*\.?\d*(?:e[+-]?\d+)?")
FILE = re.compile(r"^```\w+ (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^\$ isoflop (.*)\n((?:(?!\$|```).*\n)*)", re.MULTILINE)


def same_but_for_rounding(shown: str, line: str) -> bool:
    """Whether a line that the handbook shows was printed, its numbers to a hundredth."""
    numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in (shown, line)]
    words = [NUMBER.sub("#", text).split() for text in (shown, line)]
    return words[0] == words[1] and numbers[0] == pytest.approx(numbers[1], rel=0.01)


@pytest.mark.slow
def test_the_tutorial_of_a_table_prints_what_it_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/tutorial/own_table.md").read_text()
    for name, content in FILE.findall(text):
        Path(name).write_text(content)
    runpy.run_path("make_table.py")
    for command, shown in CONSOLE.findall(text):
        assert main(shlex.split(command)) == 0
        printed = capsys.readouterr().out.splitlines()
        for line in shown.splitlines():
            assert line == "…" or any(same_but_for_rounding(line, each) for each in printed), line
    commands = re.findall(r"^isoflop (.*?)(?: +#.*)?$", text, re.MULTILINE)
    assert len(commands) == 3
    assert [command for command in commands if main(shlex.split(command)) != 0] == []
    assert Path("report.html").exists()
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    exec(example, {})
    assert "E " in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_of_post_training_follow_each_other(run, cache_of_run, tmp_path, monkeypatch):
    """On an untrained network and few examples."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/tutorial/post_training.md").read_text().replace("out/quickstart", str(run))
    few = ["--set", "examples.gold.n_examples=64"]
    less = {"sft": few, "dpo": few, "reward": few, "rl": [*few, "--max_new", "8"]}
    for command in re.findall(r"^isoflop (.*)", text, re.MULTILINE):
        words = shlex.split(command)
        assert main([*words, *less.get(words[0], [])]) == 0, command
    assert (tmp_path / "out/hf/config.json").exists()


@pytest.mark.slow
def test_the_grids_of_the_tutorial_can_be_planned(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, content in FILE.findall((ROOT / "docs/tutorial/own_grid.md").read_text()):
        Path(name).write_text(content)
        assert main(["plan", name, "--nomemory", "--set", "data.task=walks"]) == 0
    printed = capsys.readouterr().out
    assert "grid: 12 runs" in printed and "tune:" in printed
