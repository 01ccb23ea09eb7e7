"""isoflop report: where the page goes, and one clear line where the input is wrong."""

import json

import pandas as pd
import pytest

from experiments.study_report import live_report
from launch.cli import main
from launch.commands.laws.report import missing_runs, running_runs
from launch.store import PlannedRun, Store
from tests.scaling.report.synthetic_study import CONVENTIONS, make_runs


@pytest.fixture
def table(tmp_path):
    runs = make_runs()
    columns = ["run_id", "n_params", "n_tokens", "flops", "loss"]
    runs.loc[runs["stage"].isin(["grid", "extend"]), columns].to_csv(tmp_path / "runs.csv", index=False)
    return tmp_path / "runs.csv"


def test_report_of_a_table_lies_beside_it(table, capsys):
    assert main(["report", str(table)]) == 0
    assert capsys.readouterr().out.strip() == str(table.parent / "report.html")
    assert "The frontier" in (table.parent / "report.html").read_text()
    assert (table.parent / "figures" / "frontier.png").exists()


@pytest.fixture
def running(tmp_path):
    """The store of a study with 18 runs of its first stage done, and of the second: 2 done, one in work, one
    failed, one cancelled, the others left."""
    store = Store(tmp_path / "study")
    store.create()
    rows = make_runs(verify=False).to_dict("records")
    shared = {"data": {"task": "docstrings", "tokenizer": {"name": "bytes"}}, "versions": {}, "device": "cpu"}
    store.plan.add(
        [PlannedRun(row["run_id"], row["stage"], "s", 1, 1, 1.0, {"optimizer": {"lr": 0.01}}) for row in rows]
    )
    for row in rows[:20]:
        store.finish(store.claim(row["run_id"]), row | shared | {"conventions": CONVENTIONS})
    in_work, failed, cancelled = (row["run_id"] for row in rows[20:23])
    store.claim(in_work)
    store.max_attempts = 1
    store.fail(store.claim(failed), "ValueError: no")
    for attempt in (2, 3):
        (store.root / "failed" / f"{failed}.{attempt}").write_text('{"error": "no"}')
    store.cancel([cancelled])
    store.plan.note_waiting(["verify"])
    (store.folder / "study.json").write_text(json.dumps({"name": "one", "overrides": []}))
    return store


def test_report_of_a_running_study_is_of_what_is_finished_and_says_what_is_missing(running, monkeypatch):
    given = []
    monkeypatch.setattr("experiments.study_report.write_report", lambda *arguments: given.append(arguments))
    assert main(["report", str(running.folder)]) == 0
    assert len(pd.read_csv(running.folder / "runs.csv")) == 20
    missing = given[0][-1]
    assert missing.runs["tune"] == {"finished": 18} and missing.runs["verify"] == {}
    grid = {state: missing.count(state) for state in ("finished", "running", "failed", "cancelled", "left")}
    assert grid == {"finished": 20, "running": 1, "failed": 1, "cancelled": 1, "left": 13}

    running.finished.write_text("done\n")
    before = (running.folder / "runs.csv").stat().st_mtime_ns
    assert main(["report", str(running.folder)]) == 0
    assert given[1][-1] is None and (running.folder / "runs.csv").stat().st_mtime_ns == before


def test_a_study_without_a_finished_run_has_no_page_yet(tmp_path, capsys):
    store = Store(tmp_path)
    store.create()
    store.plan.add([PlannedRun("a", "grid", "s", 1, 1, 1.0, {"optimizer": {"lr": 0.01}})])
    assert main(["report", str(tmp_path)]) == 2
    assert "no run is finished yet" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.*"))
    store.claim("a")
    missing, running = missing_runs(store), running_runs(store)
    assert missing.now[:2] == ("grid · 0/1 runs · 1 running · 0 left", "1 worker at work")
    assert running["run_id"].tolist() == ["a"] and running["loss"].isna().all()
    page = live_report(tmp_path, None, missing, running, "0 of 1")
    assert "No run is finished yet." in page and 'data-version="0 of 1"' in page
    assert main(["report", str(tmp_path / "nothing"), "--serve"]) == 2
    assert "--serve follows a study's folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["{folder}/nothing"], "does not exist"),
        (["{table}", "--fit", "{folder}/nothing.json"], "nothing.json"),
        (["{table}", "--fit", "{table}"], "is not JSON"),
        (["{table}", "--out", "{folder}/no/such/report.html"], "folder that exists"),
        (["{table}", "--columns", "n_params=N"], "no column 'N'"),
        ([], "expected one study directory"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(table, arguments, said, capsys):
    before = sorted(table.parent.rglob("*"))
    filled = [argument.format(folder=table.parent, table=table) for argument in arguments]
    assert main(["report", *filled]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert sorted(table.parent.rglob("*")) == before
