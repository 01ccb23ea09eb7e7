"""The page of a study that is still running: what it says is missing, and that it says so at the top."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.report import MissingRuns, data_of_study
from scaling.report.contents import build
from scaling.report.page import render
from scaling.report.sections.missing import notice, section
from scaling.table.runs import check
from tests.scaling.report.synthetic_study import CONVENTIONS, make_curves, make_runs
from tests.scaling.report.test_report import Outline

RUNNING = MissingRuns(
    {"tune": {"finished": 18}, "grid": {"finished": 3, "left": 9, "failed": 1}, "verify": {}}, "noon"
)


def test_the_notice_counts_what_is_missing_and_names_what_waits():
    said = notice(RUNNING, None)
    assert "10 of 31 planned runs are missing (9 not begun, 1 failed)." in said
    assert "wait for these: verify." in said and "No prediction has been tested" in said and "noon" in said
    measured = {"measured": 1.0}
    done = MissingRuns({"tune": {"finished": 2}, "verify": {"finished": 1}}, "noon")
    assert "missing" not in notice(done, measured) and "No prediction" not in notice(done, measured)
    assert "No prediction" in notice(done, {"predicted": 1.0, "measured": None})
    assert "No prediction" not in notice(MissingRuns({"grid": {"left": 1}}, "noon"), None), "none is planned"


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
def test_a_page_of_the_first_runs_alone_is_whole_and_marked(n_runs, shown):
    """Of one run of the first stage, and of a grid just begun: its sweeps are there, no law of the loss."""
    runs = check(make_runs(verify=False).head(n_runs), CONVENTIONS)
    curves = make_curves(runs.table, np.random.default_rng(0))
    data = data_of_study(runs, "one", "one", curves=curves, study={"name": "one"})
    page = render(*build(replace(data, missing=RUNNING)), vega="")
    assert Outline(page).sections == [*shown, "runs", "about"]
    assert page.index('class="notice"') < page.index("<h1>")
    assert 'class="notice"' not in render(*build(data), vega="")
