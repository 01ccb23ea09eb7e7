"""isoflop fit, as it is called."""

import copy
import json

import numpy as np
import pytest

from launch import cli
from launch.commands.laws import fit as command
from tests.scaling.planted import TRUTH, isoflop_runs


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "runs.csv"
    isoflop_runs(noise=0.003).table[["n_params", "n_tokens", "loss"]].to_csv(path, index=False)
    return path


def call(*arguments) -> int:
    values = copy.deepcopy(command.FLAGS)
    values.set_gnu_getopt(True)
    return command.run(values(["isoflop fit", *map(str, arguments)])[1:], values)


def test_it_writes_the_fit_and_prints_it(table, tmp_path, capsys):
    out = tmp_path / "fit.json"
    assert call(table, "--out", out, "--bootstrap", 50) == 0
    content = json.loads(out.read_text())
    lo, hi = content["ci"]["alpha"]
    assert lo < content["params"]["alpha"] < hi and content["params"]["E"] == pytest.approx(
        TRUTH["E"], rel=0.1
    )
    printed = capsys.readouterr().out
    assert "alpha" in printed and "[" in printed and "loss of a new run" in printed
    assert "the table has no flops" in printed


def test_json_is_what_out_writes(table, tmp_path, capsys):
    out = tmp_path / "fit.json"
    call(table, "--out", out, "--bootstrap", 20, "--json")
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text())


def test_foreign_names_and_the_highest_losses_dropped(table, tmp_path, capsys):
    foreign = tmp_path / "foreign.csv"
    foreign.write_text(
        table.read_text().replace("n_params", "N").replace("n_tokens", "D").replace("loss", "L")
    )
    call(
        foreign, "--columns", "n_params=N,n_tokens=D,loss=L", "--drop_highest", 2, "--bootstrap", 0, "--json"
    )
    content = json.loads(capsys.readouterr().out)
    assert content["n_points"] == 22 and content["dropped"] == 2
    assert any("2 highest losses" in note for note in content["notes"])


def test_held_out_rows_are_predicted_not_fitted(table, tmp_path, capsys):
    runs = isoflop_runs(noise=0.003).table
    runs["is_test"] = (runs.flops > 2e19).astype(int)
    runs.to_csv(table, index=False)
    call(table, "--holdout", "is_test", "--bootstrap", 50, "--json")
    content = json.loads(capsys.readouterr().out)
    assert content["n_points"] == 18 and content["holdout"]["n"] == 6
    assert content["holdout"]["median_abs_error"] < 0.03


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nowhere.csv"], "does not exist"),
        (["runs.csv", "--columns", "n_params"], "NAME=VALUE"),
        (["runs.csv", "--columns", "loss=los"], "did you mean 'loss'"),
        (["runs.csv", "--law", "chinchila"], "did you mean 'chinchilla'"),
        (["runs.csv", "--holdout", "test"], "no such column"),
        (["runs.csv", "--out", "nowhere/fit.json"], "folder that exists"),
        (["runs.csv", "--drop_highest", "24"], "between 1 and 23"),
        (["runs.csv", "--drop_highest", "20"], "needs 6 different runs, not 4"),
        (["runs.csv", "--level", "90"], "level=90"),
        ([], "usage"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(table, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(table.parent)
    assert cli.main(["fit", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""
    assert sorted(p.name for p in table.parent.iterdir() if p.name != "cache") == ["runs.csv"]


def test_a_full_disk_leaves_no_half_file(table, tmp_path, monkeypatch):
    out = tmp_path / "fit.json"
    out.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        call(table, "--out", out, "--bootstrap", 0)
    assert out.read_text() == "old" and len(list(tmp_path.glob("*fit.json*"))) == 1


def test_losses_beyond_the_data_are_reported_with_intervals(table, capsys):
    call(table, "--bootstrap", 50)
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.strip()[:1].isdigit()]
    losses = np.array([float(row.split()[3]) for row in rows])
    assert len(rows) == 3 and np.all(np.diff(losses) < 0)
