"""isoflop hparams, as it is called."""

import copy
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from launch import cli
from launch.commands.laws import hparams as command
from scaling.hparams import HparamLaws
from tests.scaling.planted_sweeps import cross, planted_sweeps, random_truth


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A table of sweeps in foreign names; one run diverged."""
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    runs, _ = planted_sweeps(random_truth(rng), cross(2), 0.002, None, rng)
    table = runs.table[["n_params", "n_tokens", "loss", "lr", "batch_tokens", "status"]].copy()
    table["status"] = ["diverged", *["done"] * (len(table) - 1)]
    table.rename(columns={"n_params": "size", "batch_tokens": "bs"}).to_csv(
        tmp_path / "sweeps.csv", index=False
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


COLUMNS = ("--columns", "n_params=size,batch_tokens=bs")


def call(*arguments) -> int:
    values = copy.deepcopy(command.FLAGS)
    values.set_gnu_getopt(True)
    return command.run(values(["isoflop hparams", *map(str, arguments)])[1:], values)


def test_laws_optima_and_the_setting_of_a_new_size_are_reported(capsys):
    assert call("sweeps.csv", *COLUMNS, "--params", 1e9, "--tokens", 2e10, "--out", "h.json") == 0
    printed = capsys.readouterr().out
    laws = HparamLaws.from_json(json.loads(Path("h.json").read_text()))
    setting = laws.predict(1e9, 2e10)
    assert laws.formulas["lr"] in printed and laws.formulas["batch_tokens"] in printed
    assert printed.count("[") >= 2 * len(laws.optima)
    assert f"{setting.lr:.4g} [{setting.lr_lo:.3g}, {setting.lr_hi:.3g}]" in printed
    assert f"expected penalty {setting.penalty:.3%}" in printed
    assert "note: left out 1 of 100 rows: diverged or not finished" in printed


def test_json_has_optima_and_setting_and_a_batch_may_be_given(capsys):
    sizes = ("--params", 1e9, "--tokens", 2e10)
    call("sweeps.csv", *COLUMNS, *sizes, "--json")
    free = json.loads(capsys.readouterr().out)
    call("sweeps.csv", *COLUMNS, *sizes, "--batch", 8e6, "--json")
    bound = json.loads(capsys.readouterr().out)
    assert len(free["optima"]) == 4 and "laws" not in free
    assert bound["setting"]["batch_tokens"] == pytest.approx(8e6)
    assert bound["setting"]["penalty"] > free["setting"]["penalty"]


def test_an_edge_is_said_in_words(capsys):
    table = pd.read_csv("sweeps.csv")
    middle = table.groupby(["size", "n_tokens"])["bs"].transform("median")
    table["loss"] *= 1 + 0.1 * np.log(table["bs"] / middle)  # ever smaller batches are better
    table.to_csv("tilted.csv", index=False)
    call("tilted.csv", *COLUMNS)
    assert capsys.readouterr().out.count("batch at the edge: a bound") == 4


def test_each_parametrization_gets_its_laws(capsys):
    table = pd.read_csv("sweeps.csv")
    both = [table.assign(parametrization=name) for name in ("mup", "standard")]
    pd.concat(both).to_csv("both.csv", index=False)
    call("both.csv", *COLUMNS, "--out", "both.json")
    printed = capsys.readouterr().out
    assert printed.startswith("parametrization mup\nlr = ") and "\nparametrization standard\nlr = " in printed
    assert set(json.loads(Path("both.json").read_text())) == {"mup", "standard"}


def test_optimizers_are_kept_apart_and_a_joint_law_covers_what_varies_on_its_own(capsys):
    """Lion's best rate is a tenth of AdamW's; width, tokens and batch vary apart."""
    rows = [
        {"n_params": 12 * w * w, "d_model": w, "n_layers": 2, "n_tokens": d, "batch_tokens": b, "lr": lr}
        | {"loss": 2 * np.exp(0.04 * np.log(lr / (best * (w / 32) ** -1 * (b / 512) ** 0.5)) ** 2)}
        | {"optimizer.name": name}
        for name, best in (("adamw", 1e-2), ("lion", 1e-3))
        for w, d, b in itertools.product((16, 64), (1_000_000, 4_000_000), (512, 2048))
        for lr in best * 2.0 ** np.arange(-3, 4)
    ]
    pd.DataFrame(rows).to_csv("two.csv", index=False)
    assert call("two.csv", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"adamw", "lion"}
    for laws in printed.values():
        exponents = {name: value for name, (value, _, _) in laws["joint"]["exponents"].items()}
        planted = {"d_model": -1, "n_tokens": 0, "batch_tokens": 0.5}
        assert exponents == pytest.approx(planted, abs=0.05)
    assert printed["adamw"]["joint"]["lr"] == pytest.approx(10 * printed["lion"]["joint"]["lr"], rel=0.02)
    assert call("two.csv") == 0
    said = capsys.readouterr().out
    assert said.startswith("optimizer.name adamw\n") and said.count("at one batch") == 2


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "expected one table"),
        (["sweeps.csv"], "no column n_params"),
        (["sweeps.csv", *COLUMNS, "--params", "1e9"], "go together"),
        (["sweeps.csv", *COLUMNS, "--batch", "1e5"], "go together"),
        (["sweeps.csv", *COLUMNS, "--params", "-1", "--tokens", "1e9"], "n_params=-1.0"),
        (["sweeps.csv", *COLUMNS, "--level", "90"], "between 0 and 1"),
        (["none.csv", *COLUMNS], "does not exist"),
        (["sweeps.csv", *COLUMNS, "--out", "no/h.json"], "--out no/h.json"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(capsys, arguments, words):
    assert cli.main(["hparams", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""
