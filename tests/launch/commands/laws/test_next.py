"""isoflop next, as it is called."""

import copy
import json
from pathlib import Path

import pandas as pd
import pytest

import scaling
from launch import cli
from launch.commands.laws import next as command
from scaling.design.next_runs import first_grid, next_runs
from tests.scaling.planted import isoflop_runs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    table = isoflop_runs((1e17, 3e17), noise=0.004, sizes=4).table
    table[["n_params", "n_tokens", "loss"]].to_csv(tmp_path / "runs.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments) -> int:
    values = copy.deepcopy(command.FLAGS)
    values.set_gnu_getopt(True)
    return command.run(values(["isoflop next", *map(str, arguments)])[1:], values)


def test_the_plan_is_written_and_told(folder, capsys):
    call(
        "runs.csv",
        "--flops",
        1e19,
        "--target",
        "loss@1e20",
        "--hardware",
        "a100",
        "--out",
        "next.csv",
        "--json",
    )
    said = json.loads(capsys.readouterr().out)
    runs = scaling.read_runs("runs.csv")
    plan = next_runs(scaling.fit(runs), runs, "loss@1e20", 1e19)
    written = pd.read_csv("next.csv")
    assert list(written) == ["n_params", "n_tokens", "flops"]
    assert written["n_params"].tolist() == plan.runs["n_params"].tolist()
    assert [said[k] for k in ("lo", "hi", "expected_lo", "expected_hi")] == pytest.approx(
        [plan.target.lo, plan.target.hi, plan.lo, plan.hi]
    )
    first = said["runs"][0]
    assert first["hours"] == pytest.approx(first["flops"] / (312e12 * 0.4) / 3600)


def test_the_default_target_is_the_loss_ten_times_ahead(folder, capsys):
    call("runs.csv", "--flops", 1e18)
    text = capsys.readouterr().out
    assert "loss@3e+18: " in text and "expected with these runs" in text and "$" in text and "kWh" in text


def test_without_a_table_it_is_a_first_grid(folder, capsys):
    call("--flops", 1e19, "--target", "loss@1e21", "--out", "grid.csv")
    pd.testing.assert_frame_equal(pd.read_csv("grid.csv"), first_grid(1e19, 1e21))
    assert "35 runs, 1e+19 FLOPs" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["runs.csv"], "expected --flops"),
        (["--flops", "1e19"], "give --target loss@FLOPS"),
        (["--flops", "1e19", "--target", "loss@1e17"], "run the target itself"),
        (["runs.csv", "--flops", "1e19", "--hardware", "abacus"], "unknown hardware"),
        (["runs.csv", "--flops", "1e19", "--mfu", "2"], "mfu=2.0"),
        (["runs.csv", "--flops", "1e19", "--target", "glory"], "expected loss@FLOPS"),
        (["runs.csv", "--flops", "1e19", "--sizes", "small"], "expected a number"),
        (["runs.csv", "--flops", "1e19", "--given", "unique_tokens=1e9"], "takes no other columns"),
        (["runs.csv", "--flops", "1e19", "--given", "unique_tokens"], "expected COLUMN=NUMBER"),
        (["none.csv", "--flops", "1e19"], "does not exist"),
        (["runs.csv", "--flops", "1e10"], "less than the smallest run"),
        (["diverged.csv", "--flops", "1e19"], "needs 6 different runs, not 0"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(folder, capsys, arguments, words):
    Path("diverged.csv").write_text("n_params,n_tokens,loss\n1e8,2e9,nan\n2e8,4e9,inf\n")
    assert cli.main(["next", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""
