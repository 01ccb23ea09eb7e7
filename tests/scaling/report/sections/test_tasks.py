"""The page's section on tasks: every evaluated run is a point; without tasks.csv there is no section."""

from dataclasses import replace

import pandas as pd
import pytest

from scaling.report.sections import tasks


@pytest.fixture
def evaluated(study):
    """Accuracies that rise as the loss falls, of finished runs; of one run that the table does not know."""
    runs = study.runs.table
    done = runs[(runs["status"] == "done") & (runs["stage"] != "tune")]
    rows = [
        {"run_id": run_id, "task": task, "metric": metric, "value": value, "se": 0.02, "lo": value - 0.03}
        | {"hi": value + 0.03, "n": 200, "chance": 0.25 if metric == "acc" else None, "ceiling": 1.0}
        for run_id, loss in [*zip(done["run_id"], done["loss"]), ("unknown", 2.0)]
        for task, slope in (("up", 0.3), ("flat", 0.0))
        for metric, value in (("acc", 0.25 + slope * (2.5 - loss)), ("brier", 0.7))
    ]
    return replace(study, tasks=pd.DataFrame(rows)), len(done)


def test_every_run_and_task_is_a_point(evaluated):
    data, n_runs = evaluated
    section = tasks.section(data)
    [figure], [table] = section.figures, section.tables
    drawn = figure.spec["datasets"]
    assert len(drawn["points"]) == 2 * n_runs and {one["kind"] for one in drawn["points"]} == {"up", "flat"}
    assert drawn["guess"] == [{"measured": 0.25}]
    assert f"{n_runs} runs were asked 200 items of each of 2 tasks" in section.text
    # The order of the losses is that of the accuracies, and of a flat task there is no order.
    assert [row.cells[-1].text for row in table.rows] == ["1.00", ""]


def test_without_evaluations_there_is_no_section(study):
    assert tasks.section(study) is None
