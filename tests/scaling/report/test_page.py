"""The file that a page is: what it holds cannot break out, and only its own scripts run."""

import base64
import hashlib
import html
import json
import re

import pytest

from scaling.report.page import Cell, Column, Figure, PageHead, Section, Table, TableRow, render
from tests.scaling.report.test_report import EVIL

HEAD = PageHead("t", "k", [("h", False)], "", [], "")


def test_security_policy_lets_only_the_pages_own_scripts_run():
    table = Table("Runs", [Column(EVIL)], [TableRow([Cell(EVIL)])])
    text = render(HEAD, [Section("s", EVIL, EVIL, tables=[table])], "window.vega = 1;")
    policy = html.unescape(re.search('Content-Security-Policy" content="(.*?)"', text)[1])
    allowed = re.search("script-src ([^;]*)", policy)[1].split()
    assert policy.startswith("default-src 'none'") and EVIL not in text
    scripts = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(scripts) == 2 and allowed == [f"'sha256-{made}'" for made in hashes]


def test_only_a_page_that_is_served_asks_for_newer_ones():
    section = Section("missing", "Missing", said="1 worker")
    served, written = (render(HEAD, [section], "vega", live) for live in ("3 of 9", ""))
    policy = html.unescape(re.search('Content-Security-Policy" content="(.*?)"', served)[1])
    scripts = re.findall("<script>(.*?)</script>", served, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(scripts) == 3 and all(f"'sha256-{made}'" in policy for made in hashes)
    assert "connect-src 'self'" in policy and 'data-version="3 of 9"' in served and 'id="now"' in served
    assert "connect-src" not in written and "data-version" not in written and "now.json" not in written


def test_figures_and_calculator_come_back_from_the_page_as_they_were():
    spec, calculator = (
        {"title": EVIL, "height": 3, "ß": ["&", None]},
        {"first": "1e20", "hardware": {}, "mfu": 1},
    )
    section = Section("s", "S", figures=[Figure("f", "F", "C", spec)], calculator=calculator)
    text = render(HEAD, [section], "")
    (data,) = re.findall('<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(data) == {"specs": {"f": spec}, "calculator": calculator} and "<" not in data


def test_a_number_that_json_has_not_is_no_page():
    with pytest.raises(ValueError, match="not JSON compliant"):
        render(HEAD, [Section("s", "S", figures=[Figure("f", "F", "C", {"height": float("nan")})])], "")
