"""Figures and section of the forecast: complete, drawn, and fit for the page."""

import json

import pytest

import scaling
from scaling.outlook.inputs import SCENARIOS, apply_settings
from scaling.outlook.projection import project
from scaling.report import theme
from scaling.report.page import PageHead, render
from scaling.report.sections import bottlenecks
from tests.scaling.planted import isoflop_runs


@pytest.fixture(scope="module")
def outlook():
    return project(scaling.fit(isoflop_runs(noise=0.003), n_bootstrap=50), n_draws=100)


@pytest.fixture(scope="module")
def section(outlook):
    return bottlenecks.section(outlook)


def test_every_figure_is_drawn_from_all_scenarios(section):
    for figure in section.figures:
        rows = next(iter(figure.spec["datasets"].values()))
        assert rows and figure.title and figure.caption
        drawn = json.dumps(figure.spec["datasets"])
        if figure.name not in ("next_percent", "fixed_loss"):
            assert all(f'"{name}"' in drawn for name in SCENARIOS), figure.name


def test_a_figure_becomes_an_image(section):
    image = theme.png(bottlenecks.titled(section.figures[1]))
    assert image.startswith(b"\x89PNG") and int.from_bytes(image[16:20], "big") == 2 * theme.PNG_WIDTH


def test_without_a_fit_there_is_no_price(outlook, section):
    names = [figure.name for figure in section.figures]
    bare = [figure.name for figure in bottlenecks.figures(project(n_draws=20))]
    assert names == [*bare, "next_percent"]


def test_dates_and_all_inputs_are_shown_with_their_sources(section, outlook):
    (when,) = section.tables
    assert len(when.rows) == len(outlook.when)
    facts = {name: text for lines in section.facts.values() for name, text in lines}
    assert facts["Text stock"].startswith("3e+14 [1e+14, 1e+15] tokens in 2024.5. ")
    assert "2211.04325" in facts["Text stock"] and "Compute growth, slow" in facts


def test_the_section_fits_the_page(section):
    head = PageHead("t", "k", [("h", False)], "l", [], "f")
    page = render(head, [section], vega="")
    assert 'id="bottlenecks"' in page and "Text stock" in page


def test_what_is_never_reached_is_drawn_too():
    scenarios = apply_settings(SCENARIOS, ["compute_growth=1"])
    spec = bottlenecks.dates(project(scenarios=scenarios, n_draws=20).when)
    assert any(row["words"] == "slow, later" for row in spec["datasets"]["rows"])
    assert theme.png(spec).startswith(b"\x89PNG")
