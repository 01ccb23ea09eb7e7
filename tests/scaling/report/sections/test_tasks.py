"""The page's section on tasks: every evaluated run is a point; without tasks.csv there is no section."""

import pandas as pd
import pytest

from scaling.report.data import load
from scaling.report.sections import tasks
from tests.scaling.report.synthetic_study import write_study


@pytest.fixture
def study(tmp_path):
    """Accuracies that rise as the loss falls, of finished runs; of one run that the table does not know."""
    folder = write_study(tmp_path)
    runs = pd.read_csv(folder / "runs.csv", dtype={"run_id": str})
    done = runs[(runs["status"] == "done") & (runs["stage"] != "tune")]
    rows = [
        {"run_id": run_id, "task": task, "metric": metric, "value": value, "se": 0.02, "lo": value - 0.03}
        | {"hi": value + 0.03, "n": 200, "chance": 0.25 if metric == "acc" else None, "ceiling": 1.0}
        for run_id, loss in [*zip(done["run_id"], done["loss"]), ("unknown", 2.0)]
        for task, slope in (("up", 0.3), ("flat", 0.0))
        for metric, value in (("acc", 0.25 + slope * (2.5 - loss)), ("brier", 0.7))
    ]
    pd.DataFrame(rows).to_csv(folder / "tasks.csv", index=False)
    return folder, len(done)


def test_every_run_and_task_is_a_point(study):
    folder, n_runs = study
    section = tasks.section(load(folder))
    [figure], [table] = section.figures, section.tables
    drawn = figure.spec["datasets"]
    assert len(drawn["points"]) == 2 * n_runs and {one["kind"] for one in drawn["points"]} == {"up", "flat"}
    assert drawn["guess"] == [{"measured": 0.25}]
    assert f"{n_runs} runs were asked 200 items of each of 2 tasks" in section.text
    # The order of the losses is that of the accuracies, and of a flat task there is no order.
    assert [row.cells[-1].text for row in table.rows] == ["1.00", ""]


def test_without_evaluations_there_is_no_section(study):
    folder, _ = study
    (folder / "tasks.csv").unlink()
    assert tasks.section(load(folder)) is None


def test_a_table_without_intervals_is_refused(study):
    folder, _ = study
    pd.read_csv(folder / "tasks.csv").drop(columns="lo").to_csv(folder / "tasks.csv", index=False)
    with pytest.raises(ValueError, match="no column lo"):
        load(folder)
