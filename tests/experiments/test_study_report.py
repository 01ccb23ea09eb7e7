"""A report's files: what is read from a study's folder, curves thinned, tables whole; and what is written."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.study_report import (
    CURVE_POINTS,
    read_curves,
    read_data,
    read_findings,
    read_post_training,
    read_tasks,
    training_curves,
    write_findings,
    write_report,
)
from scaling.report import MissingRuns, Picture, Report
from tests.scaling.optimum.test_frontier import known
from tests.scaling.planted import TRUTH
from tests.scaling.report.synthetic_study import make_runs, study_data, write_study

PNG = b"\x89PNG\r\n\x1a\n"


def write_curve(folder, flops, losses, rest=""):
    lines = [json.dumps({"step": 1, "flops": c, "train_loss": loss}) for c, loss in zip(flops, losses)]
    (folder / "runs" / "a").mkdir(parents=True, exist_ok=True)
    (folder / "runs" / "a" / "metrics.jsonl").write_text("".join(line + "\n" for line in lines) + rest)


def curve_of(folder, flops=1e6) -> pd.DataFrame:
    row = {"run_id": "a", "stage": "grid", "n_params": 10.0, "n_tokens": 20.0, "flops": flops, "loss": 2.5}
    return read_curves(folder, pd.DataFrame([row, row | {"run_id": "without a curve"}]))


def test_a_study_s_folder_has_all_that_its_page_shows(tmp_path):
    expected, data = study_data(), read_data(write_study(tmp_path / "study"))
    assert (data.name, data.source, data.device) == ("quickstart", "study", "2 CPU cores")
    assert data.verify == expected.verify and data.study == expected.study
    assert data.runs.conventions == expected.runs.conventions and data.versions == expected.versions
    assert data.fit.to_json() == expected.fit.to_json() and data.lr.formulas == expected.lr.formulas
    assert set(data.curves["run_id"]) == set(expected.curves["run_id"])
    assert set(data.curves) == set(expected.curves)


def test_every_part_of_a_report_is_written_beside_the_page(tmp_path, monkeypatch):
    made = Report("<html>", {"a.png": b"png", "a.pdf": b"pdf"}, {"appendix.md": "text"})
    given = []
    monkeypatch.setattr("experiments.study_report.render_report", lambda *args: given.append(args) or made)
    table = make_runs().query("stage == 'grid'")[["n_params", "n_tokens", "flops", "loss"]].head(3)
    table.rename(columns={"n_params": "N", "n_tokens": "D"}).to_csv(tmp_path / "foreign.csv", index=False)
    missing = MissingRuns({"grid": {"left": 1}}, "noon")
    columns = {"n_params": "N", "n_tokens": "D"}
    out = write_report(tmp_path / "foreign.csv", tmp_path / "page.html", None, columns, True, missing)
    assert out == tmp_path / "page.html"
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        "foreign.csv",
        "page.html",
        "page-appendix.md",
        "page-figures/a.png",
        "page-figures/a.pdf",
    }
    assert out.read_text() == "<html>" and (tmp_path / "page-figures" / "a.png").read_bytes() == b"png"
    ((data, with_forecast),) = given
    assert with_forecast and data.missing is missing and data.runs.table["n_params"].tolist()


def test_damaged_files_are_named(tmp_path):
    make_runs().query("stage == 'grid'").to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "fit.json").write_text('{"law": "chin')
    with pytest.raises(ValueError, match=r"fit\.json is not JSON"):
        write_report(tmp_path, tmp_path / "report.html", fit=tmp_path / "fit.json")
    assert not (tmp_path / "report.html").exists()


def test_the_law_is_the_one_given_else_the_study_s_own(tmp_path):
    make_runs().query("stage == 'grid'").to_csv(tmp_path / "runs.csv", index=False)
    for name, params in (("fit.json", TRUTH), ("other.json", TRUTH | {"E": 1.5})):
        (tmp_path / name).write_text(json.dumps(known(params).to_json()))
    (tmp_path / "study.json").write_text(json.dumps({"name": "quick", "versions": {"jax": "1"}}))
    data = read_data(tmp_path)
    assert (data.name, data.source, data.fit.params["E"], data.no_fit) == ("quick", tmp_path.name, 1.8, "")
    assert data.versions == {"jax": "1"} and data.verify is None and data.lr is None
    assert read_data(tmp_path, fit=tmp_path / "other.json").fit.params["E"] == 1.5


def test_a_curve_is_averaged_in_equal_steps_of_log_compute_up_to_its_last_moment(tmp_path):
    flops = np.geomspace(1e4, 1e6, 10_001)  # one past every hundredth part of a factor of 100
    write_curve(tmp_path, flops, np.log(flops))
    curve = curve_of(tmp_path)
    assert len(curve) == CURVE_POINTS and curve["flops"].iloc[-1] == 1e6
    steps = np.diff(np.log(curve["flops"]))[1:]
    np.testing.assert_allclose(steps, np.log(100) / (CURVE_POINTS - 1), atol=2e-3)
    lag = np.log(curve["flops"]) - curve["loss"]  # a mean lies in the middle of its window
    np.testing.assert_allclose(lag[1:], np.log(100) / (CURVE_POINTS - 1) / 2, atol=2e-3)
    about = curve.drop(columns=["flops", "loss"]).drop_duplicates().to_dict("records")
    assert about == [{"run_id": "a", "n_params": 10.0, "n_tokens": 20.0, "stage": "grid", "final": 2.5}]


def test_the_first_hundredth_of_a_run_is_no_part_of_its_curve(tmp_path):
    write_curve(tmp_path, [9e3, 1e4, 5e5], [6.0, 5.0, 4.0])
    assert curve_of(tmp_path)[["flops", "loss"]].values.tolist() == [[1e4, 5.0], [5e5, 4.0]]


def test_curves_skip_a_half_written_line_and_what_is_not_finite(tmp_path):
    write_curve(
        tmp_path, [1e5, 2e5, 3e5], [3.0, None, float("nan")], '{"flops": 4e5, "val_loss": 1}\n[1]\n{"fl'
    )
    assert curve_of(tmp_path)["loss"].tolist() == [3.0]
    assert read_curves(tmp_path / "nowhere", make_runs()).empty


def test_a_run_whose_loss_is_minus_its_reward_is_shown_with_what_it_said_and_not_among_losses(tmp_path):
    sizes = {"n_params": 10, "n_tokens": 1000, "flops": 6e4}
    runs = [
        {"run_id": "00000000000a", "stage": "base", "loss": 1.2, "objective": None} | sizes,
        {"run_id": "00000000000b", "stage": "rl", "loss": -0.7, "objective": "ppo"} | sizes,
    ]
    pd.DataFrame(runs).to_csv(tmp_path / "runs.csv", index=False)
    said = {"prompt": "a?", "response": "b"}
    lines = [
        {"step": 1, "tokens": 64, "flops": 3e4, "train_loss": 0.9, "reward": 0.5},
        {"step": 2, "tokens": 128, "texts": [said]},
    ]
    for run in runs:
        (tmp_path / "runs" / run["run_id"]).mkdir(parents=True)
        path = tmp_path / "runs" / run["run_id"] / "metrics.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = read_data(tmp_path)
    assert data.runs.table["loss"].tolist() == [1.2, -0.7] and data.runs.dropped == 0
    assert data.curves["run_id"].tolist() == ["00000000000a"]
    found = {"post_training": data.post_training, "texts": data.texts}
    rewards = found["post_training"].query("name == 'reward'").to_dict("records")
    about = {"run_id": "00000000000b", "stage": "rl", "objective": "ppo", "n_params": 10}
    assert rewards == [about | {"n_tokens": 64, "name": "reward", "measured": 0.5}]
    assert found["texts"].to_dict("records") == [{"run_id": "00000000000b", "step": 2} | said]


def test_a_table_of_tasks_is_whole_or_refused(tmp_path):
    path = tmp_path / "tasks.csv"
    assert read_tasks(path).empty
    path.write_text("run_id,task,metric,value,lo,hi,n,chance\n0012,cloze,acc,0.5,0.4,0.6,10,0.25\n")
    assert read_tasks(path)["run_id"].tolist() == ["0012"]
    path.write_text("run_id,task,metric,value,n\n0012,cloze,acc,0.5,10\n")
    with pytest.raises(ValueError, match=r"tasks\.csv has no column chance, hi, lo; isoflop evaluate writes"):
        read_tasks(path)


def test_many_lines_of_a_post_trained_run_are_shown_as_means(tmp_path):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    lines = [{"step": k, "tokens": 10 * k, "reward": float(k % 2)} for k in range(1, 281)]
    (tmp_path / "runs" / "a" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = pd.DataFrame([{"run_id": "a", "stage": "rl", "objective": "ppo", "n_params": 5.0}])
    found = read_post_training(tmp_path, table)["post_training"]
    rewards = found[found["name"] == "reward"]
    assert len(rewards) == CURVE_POINTS and (rewards["measured"] == 0.5).all()
    assert rewards["n_tokens"].iloc[0] == 25  # the mean of steps 1 to 4


def test_pictures_and_tables_come_back_as_they_were_written(tmp_path):
    pictures = [Picture("a", "A", "first", PNG + b"1"), Picture("figures/b", "B", "second", PNG + b"2")]
    pd.DataFrame({"x": [1, 2]}).to_csv(tmp_path / "t.csv", index=False)
    write_findings(tmp_path, pictures, {"t.csv": "All x"})
    assert (tmp_path / "figures" / "b.png").read_bytes() == PNG + b"2"
    read, tables = read_findings(tmp_path)
    assert read == pictures and tables["All x"]["x"].tolist() == [1, 2]


def test_what_is_no_longer_there_is_left_out(tmp_path):
    assert read_findings(tmp_path) == ([], {})
    write_findings(tmp_path, [Picture("a", "A", "", PNG)], {"gone.csv": "T"})
    (tmp_path / "a.png").unlink()
    assert read_findings(tmp_path) == ([], {})


@pytest.mark.parametrize(
    "listed", [{"pictures": []}, {"pictures": [1], "tables": {}}, {"pictures": [], "tables": 3}]
)
def test_a_damaged_list_is_named(tmp_path, listed):
    (tmp_path / "findings.json").write_text(json.dumps(listed))
    with pytest.raises(ValueError, match=r"findings\.json.*expected pictures"):
        read_findings(tmp_path)


def test_no_file_outside_the_folder_is_shown(tmp_path):
    (tmp_path / "secret.csv").write_text("x\n1\n")
    study = tmp_path / "study"
    study.mkdir()
    (study / "findings.json").write_text(json.dumps({"pictures": [], "tables": {"../secret.csv": "T"}}))
    with pytest.raises(ValueError, match="outside the study's folder"):
        read_findings(study)


def test_the_curves_of_a_study(tmp_path):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    events = [
        {"step": 1, "tokens": 100, "flops": 6e5, "train_loss": 5.0, "lr": 0.1},
        {"step": 1, "tokens": 100, "flops": 6e5, "val_loss": 5.2},
        {"step": 2, "tokens": 200, "flops": 12e5, "train_loss": 4.0, "lr": 0.05},
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, events)) + '\n{"step": 3, "tok')
    table = pd.DataFrame({"run_id": ["a", "none yet"], "n_params": [1e3, 2e3], "loss": [4.1, 3.0], "lr": 0.1})
    found = training_curves(tmp_path, table)
    assert found[["run_id", "n_params", "n_tokens", "loss", "lr"]].values.tolist() == [
        ["a", 1e3, 100, 5.0, 0.1],
        ["a", 1e3, 200, 4.0, 0.05],
    ]
