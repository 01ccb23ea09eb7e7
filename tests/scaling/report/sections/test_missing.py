"""The page of a study that is still running: what it says is missing, and that it says so at the top."""

from dataclasses import replace

import pandas as pd
import pytest

from scaling.report.contents import build
from scaling.report.data import load
from scaling.report.page import render
from scaling.report.sections.missing import Missing, notice, section
from tests.scaling.report.synthetic_study import write_study
from tests.scaling.report.test_report import Outline

RUNNING = Missing(
    {"tune": {"finished": 18}, "grid": {"finished": 3, "left": 9, "failed": 1}, "verify": {}}, "noon"
)


def test_the_notice_counts_what_is_missing_and_names_what_waits():
    said = notice(RUNNING, None)
    assert "10 of 31 planned runs are missing (9 not begun, 1 failed)." in said
    assert "wait for these: verify." in said and "No prediction has been tested" in said and "noon" in said
    measured = {"measured": 1.0}
    done = Missing({"tune": {"finished": 2}, "verify": {"finished": 1}}, "noon")
    assert "missing" not in notice(done, measured) and "No prediction" not in notice(done, measured)
    assert "No prediction" in notice(done, {"predicted": 1.0, "measured": None})
    assert "No prediction" not in notice(Missing({"grid": {"left": 1}}, "noon"), None), "none is planned"


def test_the_table_tells_nothing_done_from_nothing_planned():
    (table,) = section(RUNNING).tables
    cells = {row.cells[0].text: [cell.text for cell in row.cells[1:]] for row in table.rows}
    titles = ["Stage", "Finished", "Running", "Left", "Failed", "Cancelled"]
    assert [column.title for column in table.columns] == titles
    assert cells == {
        "tune": ["18", "", "", "", ""],
        "grid": ["3", "", "9", "1", ""],
        "verify": ["–"] * 5,
    }


@pytest.mark.parametrize(
    "n_runs, shown", [(1, ["missing", "curves"]), (20, ["missing", "learning-rate", "curves"])]
)
def test_a_page_of_the_first_runs_alone_is_whole_and_marked(tmp_path, n_runs, shown):
    """Of one run of the first stage, and of a grid just begun: its sweeps are there, no law of the loss."""
    study = write_study(tmp_path / "study", verify=False)
    for name in ("fit.json", "lr.json"):
        (study / name).unlink()
    pd.read_csv(study / "runs.csv").head(n_runs).to_csv(study / "runs.csv", index=False)
    page = render(*build(replace(load(study), missing=RUNNING)), vega="")
    assert Outline(page).sections == [*shown, "runs", "about"]
    assert page.index('class="notice"') < page.index("<h1>")
    assert 'class="notice"' not in render(*build(load(study)), vega="")
