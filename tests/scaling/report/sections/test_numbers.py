"""The page's text numbers: the table of runs, the law with its parameters, and where it all comes from."""

from dataclasses import replace

import pandas as pd
import pytest

from scaling.profiles.isoflop import PowerLaw, Profiles
from scaling.report.data import ReportData
from scaling.report.sections import numbers
from scaling.table.runs import Runs
from tests.scaling.optimum.test_frontier import known
from tests.scaling.planted import TRUTH

RUNS = pd.DataFrame({
    "run_id": ["a", "b", "c"], "stage": ["grid", "grid", "verify"], "status": ["done", "diverged", "done"],
    "n_params": [34_900.0, 34_900.0, 1.2e9], "n_tokens": [1e6, 1e6, 2e10], "flops": [2.84e12, 2.84e12, 1e20],
    "loss": [2.5, float("nan"), 1.25], "residual": [-1.234, float("nan"), 0.5], "seed": [0, 0, 0],
    "d_model": [16, 16, 1024], "mine": [1, 2, 3],
})  # fmt: skip


def data_of(fit=None, conventions=None, **fields) -> ReportData:
    runs = Runs(RUNS, conventions or {}, ("left out 2 of 5 rows: odd",), 2)
    return ReportData("x", "x.csv", runs, runs, fit, "", **fields)


def cells(section) -> dict[str, list[str]]:
    (table,) = section.tables
    texts = [[cell.text for cell in row.cells] for row in table.rows]
    return dict(zip([column.title for column in table.columns], zip(*texts)))


def test_the_table_of_runs_says_what_differs_between_them_and_the_loss_always():
    shown = cells(numbers.run_table(RUNS.assign(loss=2.5, status="done"), has_stages=True))
    assert list(shown) == ["Run", "Stage", "N", "D", "FLOPs", "Loss", "Residual, %", "Width"]
    assert shown["Loss"] == ("2.5000",) * 3 and shown["Width"] == ("16", "16", "1024")
    assert shown["N"] == ("34.9k", "34.9k", "1.2B") and shown["FLOPs"] == ("2.8e12", "2.8e12", "1e20")
    assert "Stage" not in cells(numbers.run_table(RUNS, has_stages=False))


def test_settings_that_differ_are_columns_under_their_own_names():
    runs = RUNS.assign(loss=2.5, status="done")
    decay = [0.1] * (len(runs) - 1) + [0.05]
    runs = runs.assign(**{"optimizer.weight_decay": decay, "schedule.name": "wsd", "data.by": None})
    runs.loc[0, "data.by"] = "lang"
    (table,) = numbers.run_table(
        runs, True, ["optimizer.weight_decay", "schedule.name", "data.by", "gone"]
    ).tables
    assert [column.title for column in table.columns][-2:] == ["optimizer.weight_decay", "data.by"]
    assert [row.cells[-2].text for row in table.rows][-2:] == ["0.1", "0.05"]
    assert [row.cells[-1].text for row in table.rows][:2] == ["lang", "–"]


def test_a_diverged_run_has_its_status_for_a_loss_and_is_marked_as_is_the_verification_run():
    section = numbers.run_table(RUNS, has_stages=True)
    shown = cells(section)
    assert shown["Loss"] == ("2.5000", "diverged", "1.2500")
    assert shown["Residual, %"] == ("−1.23", "–", "+0.50")
    (table,) = section.tables
    assert [row.mark for row in table.rows] == ["", "lost", "star"]
    loss = [row.cells[list(shown).index("Loss")].sort for row in table.rows]
    assert loss == [2.5, None, 1.25]
    assert "Diverged runs have no loss" in section.text
    assert "Diverged" not in numbers.run_table(RUNS.assign(status="done"), True).text


def test_of_very_many_runs_the_first_are_shown():
    many = pd.concat([RUNS] * 700, ignore_index=True)
    section = numbers.run_table(many, has_stages=True)
    assert len(section.tables[0].rows) == numbers.MOST_ROWS
    assert "The first 2,000 of 2,100 rows." in section.text


def test_the_law_s_numbers_stand_beside_their_intervals():
    minima = PowerLaw(0.1, 0.52, 0.5, 0.54)
    fit = replace(
        known(TRUTH | {"A": 4e-5, "B": 12_850.4}),
        ci={"E": (1.7, 1.9), "alpha": (-0.01, 0.7)},
        exponents={"a": 0.507, "b": 0.493},
        exponents_ci={"a": (0.4, 0.6)},
        profiles=Profiles((), minima, replace(minima, exponent=0.48), None, 0.9),
    )
    parameters, frontier = numbers.law_tables(data_of(fit))
    assert [column.title for column in parameters.columns] == ["Parameter", "Value", "90% from", "to"]
    assert [[cell.text for cell in row.cells] for row in parameters.rows] == [
        ["E", "1.8", "1.7", "1.9"],
        ["A", "4e-05", "–", "–"],
        ["B", "12850", "–", "–"],
        ["α", "0.35", "−0.01", "0.7"],
        ["β", "0.36", "–", "–"],
    ]
    assert [[cell.text for cell in row.cells] for row in frontier.rows] == [
        ["N* ∝ Cᵃ", "0.507", "0.4", "0.6"],
        ["D* ∝ Cᵇ", "0.493", "–", "–"],
        ["N* ∝ Cᵃ, by profile minima", "0.52", "0.5", "0.54"],
        ["D* ∝ Cᵇ, by profile minima", "0.48", "0.5", "0.54"],
    ]
    assert [table.title for table in numbers.law_tables(data_of(known(TRUTH)))] == ["Parameters"]


@pytest.mark.parametrize(
    "text, html",
    [
        ("A / N^α + B", "A / N<sup>α</sup> + B"),
        ("x^-0.5, C^2.", "x<sup>−0.5</sup>, C<sup>2</sup>."),
        ("e^(p u) - 3", "e^(p u) - 3"),
        ("<b> & N^a_b", "&lt;b&gt; &amp; N<sup>a_b</sup>"),
    ],
)
def test_what_follows_a_caret_is_raised_and_the_rest_escaped(text, html):
    assert numbers.raised(text) == html


def test_the_law_is_written_in_greek():
    assert numbers.formula(data_of(known(TRUTH))) == "L = E + A / N<sup>α</sup> + B / D<sup>β</sup>"


def test_where_the_law_comes_from_and_what_is_wrong_with_its_fit():
    fit = known(TRUTH)
    text = numbers.law_source(data_of(replace(fit, status="converged")))
    assert "Hoffmann et al. 2022" in text and text.endswith("a weak prior on E and the exponents.")
    loose = replace(fit, forecast=replace(fit.forecast, law="chinchilla-loose"), status="at a bound")
    text = numbers.law_source(data_of(loose))
    assert "its relaxed form “chinchilla-loose”" in text and text.endswith("bend more freely. at a bound.")


def test_conventions_and_versions_are_lines_however_deep_they_are():
    source = {"versions": {"scipy": "1.17.1", "jax": "0.10.2"}}
    split = {"n_documents": 24_800, "sha256": "19433a"}
    data = {"name": "docstrings", "source": source, "splits": {"validation": split}, "sha256": "9f2c" * 16}
    conventions = {
        "n_params": "no embeddings",
        "epochs": 0.123456789,
        "tied": False,
        "none": None,
        "data": data,
    }
    facts = numbers.about(
        data_of(known(TRUTH), conventions, versions={"jax": "0.10.2"}, device="2 cores")
    ).facts
    assert facts["Conventions"] == [
        ("Parameters N", "no embeddings"),
        ("Epochs", "0.123457"),
        ("Tied", "False"),
    ]
    assert facts["Data"] == [
        ("Name", "docstrings"),
        ("Source: versions", "scipy 1.17.1, jax 0.10.2"),
        ("Splits: validation", "documents 24,800, SHA-256 19433a"),
        ("SHA-256", "9f2c9f2c9f2c9f2c…"),
    ]
    assert facts["Made with"] == [("Device", "2 cores"), ("jax", "0.10.2")]
    assert facts["Table"] == [
        ("File", "x.csv"),
        ("Notes", "left out 2 of 5 rows: odd"),
        ("Rows left out", "2"),
    ]
    assert ("Law", "chinchilla") in facts["Fit"] and "Study" not in facts


def test_of_a_study_its_name_and_settings_are_shown_and_no_file():
    study = {"name": "quick", "overrides": ["seed=1", "n=2"], "seed": 1}
    facts = numbers.about(data_of(conventions={"data": "c4"}, study=study)).facts
    assert facts["Study"] == [("Name", "quick"), ("Overrides", "seed=1; n=2"), ("Seed", "1")]
    assert facts["Data"] == [("Data", "c4")] and "File" not in dict(facts["Table"])
    assert {"Fit", "Conventions", "Made with"}.isdisjoint(facts)
