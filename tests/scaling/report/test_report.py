"""The page as text: what is in it, what is left out, that it loads nothing and runs nothing foreign."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.report import theme, write_report
from scaling.report.contents import build
from scaling.report.data import load
from scaling.report.page import render
from tests.scaling.planted_sweeps import cross, planted_sweeps, random_truth
from tests.scaling.report.synthetic_study import make_runs, write_study

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


def page_of(source, **options) -> str:
    """The page without the libraries that draw it, and without PNG files: a tenth of the time."""
    return render(*build(load(source, **options)), vega="")


def headline(page: str) -> str:
    return re.sub(r"<[^>]+>", "", re.search("<h1>(.*?)</h1>", page, re.S)[1])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def written(study):
    write_report(study, study / "report.html")
    return sorted((study / "figures").iterdir())


def test_whole_study_has_every_section_and_a_png_and_a_pdf_of_each_figure(study, written):
    page = Outline((study / "report.html").read_text())
    assert page.sections == [
        *("frontier", "calculator", "isoflop", "learning-rate", "curves"),
        *("law", "laws", "runs", "appendix", "about"),
    ]
    images = {path.name: path.read_bytes() for path in written}
    assert set(images) == {f"{figure}.{kind}" for figure in FIGURES for kind in ("png", "pdf")}
    for path, image in images.items():
        if path.endswith(".pdf"):
            assert image.startswith(b"%PDF") and b"/FontFile" in image, path
            continue
        width, height = (int.from_bytes(image[i : i + 4], "big") for i in (16, 20))
        assert image.startswith(b"\x89PNG") and width == 2 * theme.PNG_WIDTH and height > 700, path


def test_headline_states_prediction_measurement_and_verdict(study, written):
    verify = json.loads((study / "verify.json").read_text())
    text = headline((study / "report.html").read_text())
    inside = verify["lo"] <= verify["measured"] <= verify["hi"]
    assert f"Predicted {verify['predicted']:.3f}" in text and f"measured {verify['measured']:.3f}" in text
    assert f"{abs(verify['measured'] / verify['predicted'] - 1):.1%}" in text
    assert ("inside the 90% interval" if inside else "outside the 90% interval") in text


def test_law_is_written_with_its_parameters_and_intervals(study):
    page, fit = page_of(study), json.loads((study / "fit.json").read_text())
    assert "L = E + A / N<sup>α</sup> + B / D<sup>β</sup>" in page
    for name in ("E", "A", "B", "alpha", "beta"):
        low, high = fit["ci"][name]
        for value in (fit["params"][name], low, high):
            assert f">{theme.four(value)}</td>" in page


def test_page_names_nothing_to_load(study, written):
    page = Outline((study / "report.html").read_text())
    assert all(load.startswith(("#", "data:")) for load in page.loads), page.loads


def test_every_run_is_in_the_table_and_diverged_ones_are_marked(study, written):
    text = (study / "report.html").read_text()
    table = pd.read_csv(study / "runs.csv", dtype={"run_id": str})
    assert all(f">{run_id}</td>" in text for run_id in table["run_id"])
    assert text.count('<tr class="lost">') == (table["status"] == "diverged").sum() > 0


def test_unverified_study_predicts_and_says_nothing_was_measured(tmp_path):
    page = page_of(write_study(tmp_path / "study", verify=False))
    assert "the law expects a loss of" in headline(page) and "measured" not in headline(page)
    assert "nothing has been measured" in page and "The star" not in page


def test_prediction_waits_for_its_run(study, tmp_path):
    shutil.copytree(study, tmp_path / "study")
    told = json.loads((study / "verify.json").read_text())
    told.pop("measured")
    (tmp_path / "study" / "verify.json").write_text(json.dumps(told))
    table = pd.read_csv(study / "runs.csv", dtype={"run_id": str})
    table[table["stage"] != "verify"].to_csv(tmp_path / "study" / "runs.csv", index=False)
    assert "not measured yet" in headline(page_of(tmp_path / "study"))


def test_table_alone_leaves_out_what_it_has_no_data_for(tmp_path):
    table = make_runs()
    table = table[table["stage"] == "grid"][["n_params", "n_tokens", "flops", "loss"]]
    table.rename(columns={"n_params": "N", "n_tokens": "D"}).to_csv(tmp_path / "foreign.csv", index=False)
    page = page_of(tmp_path / "foreign.csv", columns={"n_params": "N", "n_tokens": "D"})
    sections = Outline(page).sections
    assert {"frontier", "law", "runs", "about"} <= set(sections)
    assert not {"curves", "learning-rate"} & set(sections)


def test_table_of_sweeps_has_their_laws_and_a_loss_law_of_the_best_settings(tmp_path):
    rng = np.random.default_rng(0)
    table = planted_sweeps(random_truth(rng), cross(3), 1e-3, None, rng)[0].table
    table.to_csv(tmp_path / "sweeps.csv", index=False)
    data = load(tmp_path / "sweeps.csv")
    assert data.fit.n_points == 9 and len(data.runs.table) == len(table)
    head, sections = build(data)
    made = {section.id: section for section in sections}
    names = [figure.name for figure in made["learning-rate"].figures]
    assert names == ["surface_1", "surface_2", "surface_3", "surface_4", "lr_law", "batch_law"]
    assert {"lr", "batch_tokens"} <= set(made["calculator"].calculator)
    page = render(head, sections, vega="")
    assert "not the best setting of their N and D" in page
    shown = re.sub("<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search(r"\bstage\b|\btune\b|IsoFLOP grid|verification", shown, re.IGNORECASE)


def test_forecast_of_bottlenecks_only_where_it_is_asked_for(study):
    data = load(study)
    with_it = [section.id for section in build(data, with_forecast=True)[1]]
    assert "bottlenecks" in with_it and "bottlenecks" not in [section.id for section in build(data)[1]]


def test_too_few_runs_for_a_law_still_give_a_page_that_says_so(tmp_path):
    few = make_runs().head(3)[["run_id", "n_params", "n_tokens", "flops", "loss"]]
    few.to_csv(tmp_path / "few.csv", index=False)
    page = page_of(tmp_path / "few.csv")
    assert Outline(page).sections == ["runs", "about"] and "No law was fitted" in page


def test_foreign_text_is_escaped_everywhere(study, tmp_path):
    study = shutil.copytree(study, tmp_path / "study")
    about = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(about | {"name": EVIL, "overrides": [EVIL]}))
    table = pd.read_csv(study / "runs.csv", dtype={"run_id": str})
    table["run_id"] = [EVIL, *table["run_id"][1:]]
    table["family"] = EVIL
    table.to_csv(study / "runs.csv", index=False)
    about = json.loads((study / "runs.json").read_text())
    about["conventions"] |= {EVIL: EVIL, "loss": EVIL}
    (study / "runs.json").write_text(json.dumps(about | {"device": EVIL, "versions": {EVIL: EVIL}}))
    page = page_of(study)
    tags = Outline(page).tags
    assert tags.count("script") == 3 and "img" not in tags and EVIL not in page


def test_damaged_files_are_named(study, tmp_path):
    (tmp_path / "fit.json").write_text('{"law": "chin')
    with pytest.raises(ValueError, match=r"fit\.json is not JSON"):
        write_report(study, tmp_path / "report.html", fit=tmp_path / "fit.json")
    assert not (tmp_path / "report.html").exists()


def test_import_is_light():
    code = (
        "import sys, scaling.report\n"
        "heavy = {'flax', 'tensorflow', 'seqio', 'orbax', 'models', 'experiments', 'launch'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_law_that_splits_no_budget_is_shown_without_a_frontier(tmp_path):
    table = make_runs().query("stage == 'grid'").drop(columns="stage")
    table.to_csv(tmp_path / "grid.csv", index=False)
    fit = scaling.fit(scaling.read_runs(tmp_path / "grid.csv"), law="broken", n_bootstrap=20)
    (tmp_path / "fit.json").write_text(json.dumps(fit.to_json()))
    page = page_of(tmp_path / "grid.csv", fit=tmp_path / "fit.json")
    sections = Outline(page).sections
    assert {"law", "runs", "appendix", "about"} <= set(sections)
    assert not {"frontier", "calculator"} & set(sections) and "(1 + (x/d)" in page
