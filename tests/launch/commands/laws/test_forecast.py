"""isoflop forecast, as it is called."""

import copy
import json

import pandas as pd
import pytest

import scaling
from launch import cli
from launch.commands.laws import forecast as command
from scaling.outlook.inputs import OutlookInputs, list_inputs
from tests.scaling.planted import isoflop_runs

FEW = ("--draws", "50")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def fit():
    return json.dumps(scaling.fit(isoflop_runs(noise=0.003), n_bootstrap=50).to_json())


def call(*arguments) -> int:
    values = copy.deepcopy(command.FLAGS)
    values.set_gnu_getopt(True)
    return command.run(values(["isoflop forecast", *map(str, arguments)])[1:], values)


def test_prints_each_scenario_with_years_units_and_dates(capsys):
    assert cli.main(["forecast", *FEW]) == 0
    said = capsys.readouterr().out
    for words in ("slow", "central", "fast", "2030", "its power, MW", "its price, $", "human text: 20"):
        assert words in said, words
    for words in ("price of that loss, $", "quoted: of the world's electricity in 2030", "nobody else has"):
        assert words in said, words
    assert max(map(len, said.splitlines())) <= 120


def test_json_holds_all_numbers(capsys):
    call(*FEW, "--json", "--set", "text_stock=2e14", "--set", "central.mfu=0.35:0.3:0.4")
    said = json.loads(capsys.readouterr().out)
    assert len(said["forecast"]) == 3 * 8 and len(said["when"]) == 3 * 3
    given = [row for row in said["inputs"] if row["source"] == "given"]
    assert {(row["input"], row["scenario"], row["value"]) for row in given} == {
        ("text_stock", "all", 2e14), ("mfu", "central", 0.35),
    }  # fmt: skip


def test_inputs_are_listed_with_their_sources(capsys):
    call("--inputs", "--set", "text_stock=2e14")
    said = capsys.readouterr().out
    for name, _, _ in list_inputs({"central": OutlookInputs()}):
        assert f"{name} = " in said
    assert (
        "arXiv 2405.21015" in said and "text_stock = 2e+14 [2e+14, 2e+14] tokens in 2024.5\n    given" in said
    )


@pytest.mark.slow
def test_out_holds_tables_and_figures_and_is_replaced_whole(folder, fit, capsys):
    (folder / "fit.json").write_text(fit)
    call(*FEW, "--fit", "fit.json", "--out", "out")
    written = {path.name for path in (folder / "out").iterdir()}
    expected = {f"{name}.csv" for name in command.TABLES}
    assert written == expected | {f"{name}.{end}" for name in command.FIGURES for end in ("png", "pdf")}
    table = pd.read_csv(folder / "out/forecast.csv")
    assert {"scenario", "year", "tokens", "tokens_lo", "tokens_hi", "loss"} <= set(table)
    assert "money for 1 % less loss" in capsys.readouterr().out
    call(*FEW, "--out", "out")
    assert "next_percent.csv" not in {path.name for path in (folder / "out").iterdir()}
    assert {path.name for path in folder.iterdir()} == {"fit.json", "out"} | {"cache"} & {
        p.name for p in folder.iterdir()
    }


def test_a_failure_leaves_what_was_there(folder, monkeypatch):
    (folder / "out").mkdir()
    (folder / "out/forecast.csv").write_text("before")

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command.Path, "write_bytes", fails)
    with pytest.raises(OSError, match="No space"):
        command.publish(folder / "out", {"forecast.csv": b"after"})
    assert [path.name for path in folder.iterdir()] == ["out"]
    assert (folder / "out/forecast.csv").read_text() == "before"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["runs.csv"], "expected flags only"),
        (["--set", "texts=1"], "unknown input 'texts'"),
        (["--set", "mfu=2"], "at most 1"),
        (["--fit", "none.json"], "isoflop fit"),
        (["--draws", "0"], "n_draws=0"),
        (["--draws", "1000000000"], "at most 100,000"),
        (["--out", "a/b/c"], "expected a folder"),
        (["--out", "notes"], "holds diary.txt and would be replaced"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(folder, capsys, arguments, words):
    (folder / "notes").mkdir()
    (folder / "notes/diary.txt").write_text("mine")
    assert cli.main(["forecast", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""
