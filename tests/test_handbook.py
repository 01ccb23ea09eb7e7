"""The handbook: its links."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
NAMED_IN_CODE = re.compile(r"\b(?:docs|benchmarks)/[\w/]+\.(?:md|png)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_pages_that_code_names_are_there():
    files = [
        path
        for room in ("models", "scaling", "experiments", "launch", "tests", "benchmarks")
        for path in (ROOT / room).rglob("*.py")
    ]
    named = {name for path in files for name in NAMED_IN_CODE.findall(path.read_text())}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
