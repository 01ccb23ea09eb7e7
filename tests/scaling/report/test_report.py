"""The page as text: what is in it, what is left out, that it loads nothing and runs nothing foreign."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.report import data_of_table, theme
from scaling.report.contents import build
from scaling.report.page import render
from scaling.report.theme import of_stage
from scaling.table.runs import check
from tests.scaling.planted_sweeps import cross, planted_sweeps, random_truth
from tests.scaling.report.synthetic_study import make_runs

EVIL = "</script><script>window.owned = 1</script><img src=x onerror=owned=1>"
FIGURES = {
    "frontier",
    "frontier_params",
    "predicted",
    "isoflop",
    "lr_sweep",
    "lr_law",
    "curves",
    "residuals",
    "laws_errors",
    "laws_intervals",
}


class Outline(HTMLParser):
    """Elements of a page: ids of sections, and every attribute that could load something."""

    def __init__(self, text: str):
        super().__init__()
        self.sections, self.loads, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        if tag == "section":
            self.sections.append(values["id"])
        self.loads += [values[name] for name in ("src", "href", "srcset", "data", "action") if name in values]


def page_of(data, **options) -> str:
    """The page without the libraries that draw it, and without PNG files: a tenth of the time."""
    return render(*build(data, **options), vega="")


def headline(page: str) -> str:
    return re.sub(r"<[^>]+>", "", re.search("<h1>(.*?)</h1>", page, re.S)[1])


def test_whole_study_has_every_section_and_a_png_and_a_pdf_of_each_figure(report):
    assert Outline(report.html).sections == [
        *("frontier", "calculator", "isoflop", "learning-rate", "curves"),
        *("law", "laws", "runs", "appendix", "about"),
    ]
    assert set(report.snippets) == {"appendix.tex", "appendix.md"}
    assert set(report.figures) == {f"{figure}.{kind}" for figure in FIGURES for kind in ("png", "pdf")}
    for name, image in report.figures.items():
        if name.endswith(".pdf"):
            assert image.startswith(b"%PDF") and b"/FontFile" in image, name
            continue
        width, height = (int.from_bytes(image[i : i + 4], "big") for i in (16, 20))
        assert image.startswith(b"\x89PNG") and width == 2 * theme.PNG_WIDTH and height > 700, name


def test_headline_states_prediction_measurement_and_verdict(study, report):
    verify, text = study.verify, headline(report.html)
    inside = verify["lo"] <= verify["measured"] <= verify["hi"]
    assert f"Predicted {verify['predicted']:.3f}" in text and f"measured {verify['measured']:.3f}" in text
    assert f"{abs(verify['measured'] / verify['predicted'] - 1):.1%}" in text
    assert ("inside the 90% interval" if inside else "outside the 90% interval") in text


def test_law_is_written_with_its_parameters_and_intervals(study, report):
    page, fit = report.html, study.fit
    assert "L = E + A / N<sup>α</sup> + B / D<sup>β</sup>" in page
    for name in ("E", "A", "B", "alpha", "beta"):
        low, high = fit.ci[name]
        for value in (fit.params[name], low, high):
            assert f">{theme.four(value)}</td>" in page


def test_page_names_nothing_to_load(report):
    page = Outline(report.html)
    assert all(load.startswith(("#", "data:")) for load in page.loads), page.loads


def test_every_run_is_in_the_table_and_diverged_ones_are_marked(study, report):
    table = study.runs.table
    assert all(f">{run_id}</td>" in report.html for run_id in table["run_id"])
    assert report.html.count('<tr class="lost">') == (table["status"] == "diverged").sum() > 0


@pytest.fixture(scope="module")
def unverified(study):
    """The study before its verification run has trained."""
    runs = study.runs.without(of_stage(study.runs.table, "verify"), "not trained yet")
    return replace(study, runs=runs, law_runs=runs)


def test_unverified_study_predicts_and_says_nothing_was_measured(unverified):
    page = page_of(replace(unverified, verify=None))
    assert "the law expects a loss of" in headline(page) and "measured" not in headline(page)
    assert "nothing has been measured" in page and "The star" not in page


def test_prediction_waits_for_its_run(unverified):
    verify = {name: value for name, value in unverified.verify.items() if name != "measured"}
    assert "not measured yet" in headline(page_of(replace(unverified, verify=verify)))


def test_table_alone_leaves_out_what_it_has_no_data_for(grid):
    columns = ["n_params", "n_tokens", "flops", "loss", "status"]
    bare = replace(grid.runs, table=grid.runs.table[columns])
    sections = Outline(page_of(replace(grid, runs=bare, law_runs=bare))).sections
    assert {"frontier", "law", "runs", "about"} <= set(sections)
    assert not {"curves", "learning-rate"} & set(sections)


def test_table_of_sweeps_has_their_laws_and_a_loss_law_of_the_best_settings():
    rng = np.random.default_rng(0)
    runs = planted_sweeps(random_truth(rng), cross(3), 1e-3, None, rng)[0]
    data = data_of_table(runs, "sweeps", "sweeps.csv")
    assert data.fit.n_points == 9 and len(data.runs.table) == len(runs.table)
    head, sections = build(data)
    made = {section.id: section for section in sections}
    names = [figure.name for figure in made["learning-rate"].figures]
    assert names == ["surface_1", "surface_2", "surface_3", "surface_4", "lr_law", "batch_law"]
    assert {"lr", "batch_tokens"} <= set(made["calculator"].calculator)
    page = render(head, sections, vega="")
    assert "not the best setting of their N and D" in page
    shown = re.sub("<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search(r"\bstage\b|\btune\b|IsoFLOP grid|verification", shown, re.IGNORECASE)


def test_forecast_of_bottlenecks_only_where_it_is_asked_for(grid, report):
    assert "bottlenecks" in [section.id for section in build(grid, with_forecast=True)[1]]
    assert "bottlenecks" not in Outline(report.html).sections


def test_too_few_runs_for_a_law_still_give_a_page_that_says_so():
    few = make_runs().head(3)[["run_id", "n_params", "n_tokens", "flops", "loss"]]
    page = page_of(data_of_table(check(few, {}), "few", "few.csv"))
    assert Outline(page).sections == ["runs", "about"] and "No law was fitted" in page


def test_foreign_text_is_escaped_everywhere(study):
    table = study.runs.table
    table = table.assign(run_id=[EVIL, *table["run_id"][1:]], family=EVIL)
    runs = replace(study.runs, table=table, conventions=study.runs.conventions | {EVIL: EVIL, "loss": EVIL})
    about = {"name": EVIL, "study": study.study | {"name": EVIL, "overrides": [EVIL]}}
    data = replace(study, runs=runs, law_runs=runs, device=EVIL, versions={EVIL: EVIL}, **about)
    page = page_of(data)
    tags = Outline(page).tags
    assert tags.count("script") == 3 and "img" not in tags and EVIL not in page


def test_import_is_light():
    code = (
        "import sys, scaling.report\n"
        "heavy = {'flax', 'tensorflow', 'seqio', 'orbax', 'models', 'experiments', 'launch'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_law_that_splits_no_budget_is_shown_without_a_frontier(grid):
    fit = scaling.fit(grid.runs, law="broken", n_bootstrap=20)
    page = page_of(data_of_table(grid.runs, "grid", "grid.csv", fit))
    sections = Outline(page).sections
    assert {"law", "runs", "appendix", "about"} <= set(sections)
    assert not {"frontier", "calculator"} & set(sections) and "(1 + (x/d)" in page


def test_repeats_of_the_best_setting_stay_in_the_law():
    rng = np.random.default_rng(1)
    runs = planted_sweeps(random_truth(rng), cross(3), 1e-3, None, rng)[0]
    table = runs.table
    best = table.loc[table.groupby(["n_params", "n_tokens"])["loss"].idxmin()]
    again = best.assign(loss=best["loss"] * 1.001)
    runs = check(pd.concat([table, again]), {})
    data = data_of_table(runs, "seeds", "seeds.csv")
    assert data.fit.n_points == 2 * 9 and data.runs.table["stage"].tolist().count("tune") == len(table) - 9


def test_stages_that_a_table_states_are_kept():
    runs = check(make_runs(), {})
    data = data_of_table(runs, "runs", "runs.csv")
    assert data.fit.n_points == make_runs()["stage"].isin(["grid", "extend"]).sum() and data.lr is None


def test_too_few_runs_for_a_law_say_so():
    few = check(make_runs().query("stage == 'grid'").head(3).drop(columns="stage"), {})
    data = data_of_table(few, "few", "few.csv")
    assert data.fit is None and data.no_fit.startswith("No law was fitted: ") and len(data.runs.table) == 3
