"""isoflop predict, as it is called."""

import copy
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import scaling
from launch import cli
from launch.commands.laws import predict as command
from scaling.laws import find
from scaling.laws.law import values
from scaling.optimum.returns import budget_for
from scaling.table.runs import check
from tests.scaling.planted import isoflop_runs
from tests.scaling.planted_laws import PLANTED


@pytest.fixture(scope="module")
def fit():
    return scaling.fit(isoflop_runs(noise=0.003), n_bootstrap=50)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path, fit, monkeypatch):
    (tmp_path / "fit.json").write_text(json.dumps(fit.to_json()))
    (tmp_path / "points.csv").write_text("name,N,D\nsmall,1e9,2e10\nlarge,7e9,1.4e11\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments) -> int:
    values = copy.deepcopy(command.FLAGS)
    values.set_gnu_getopt(True)
    return command.run(values(["isoflop predict", *map(str, arguments)])[1:], values)


def test_a_budget_is_split_best(folder, fit, capsys):
    assert call("fit.json", "--flops", "1e20,1e21", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    best = scaling.frontier(fit, [1e20, 1e21])
    assert [row["n_params"] for row in rows] == pytest.approx(list(best.n_params))
    assert [row["loss_lo"] for row in rows] == pytest.approx(list(best.loss_lo))
    assert {row["form"] for row in rows} == {fit.to_json()["forecast"]["law"]} == {"chinchilla-decoupled"}


def test_a_budget_with_limits_and_tokens_to_serve(folder, fit, capsys):
    call("fit.json", "--flops", "1e21", "--max_params", 1e9, "--inference_tokens", 1e12, "--json")
    row = json.loads(capsys.readouterr().out)[0]
    best = scaling.frontier(fit, 1e21, max_params=1e9, inference_tokens=1e12)
    assert row["n_params"] == pytest.approx(best.n_params) and row["n_params"] <= 1e9
    assert row["n_tokens"] == pytest.approx(best.n_tokens)


def test_the_budget_for_a_loss(folder, fit, capsys):
    call("fit.json", "--loss", "2.3")
    found = budget_for(fit, 2.3)
    text = capsys.readouterr().out
    assert f"budget     {found.flops:.4g} [{found.flops_lo:.3g}, {found.flops_hi:.3g}] FLOPs" in text
    assert f"params     {found.n_params:.4g}\n" in text and "loss       2.3000\n" in text


def test_one_model_is_reported_with_its_interval(folder, fit, capsys):
    call("fit.json", "--params", 1e9, "--tokens", 2e10)
    predicted = fit.predict(1e9, 2e10)
    assert f"{predicted.loss:.4f} [{predicted.lo:.4f}, {predicted.hi:.4f}]" in capsys.readouterr().out


def test_points_keep_their_columns_and_gain_the_prediction_and_its_form(folder, fit):
    call("fit.json", "--points", "points.csv", "--columns", "n_params=N,n_tokens=D", "--out", "q.csv")
    table = pd.read_csv("q.csv")
    assert list(table.columns) == ["name", "N", "D", "loss_pred", "loss_lo", "loss_hi", "form", "warning"]
    assert set(table.form) == {"chinchilla-decoupled"}
    predicted = fit.predict(table.N.to_numpy(), table.D.to_numpy())
    assert table.loss_pred.to_numpy() == pytest.approx(predicted.loss)
    assert ((table.loss_lo < table.loss_pred) & (table.loss_pred < table.loss_hi)).all()


@pytest.fixture
def other(folder):
    """A fit of a law of other columns and another target, and points to ask it at."""
    table = PLANTED["downstream"][1]
    accuracy = values(
        find("downstream"), np.array([PLANTED["downstream"][0]]), {"loss": table.loss.to_numpy()}
    )
    runs = check(table.assign(accuracy=accuracy[0]), {}, needed=("loss", "accuracy"))
    (folder / "other.json").write_text(
        json.dumps(scaling.fit(runs, law="downstream", n_bootstrap=20).to_json())
    )
    (folder / "losses.csv").write_text("loss\n0.8\n1.2\n")
    (folder / "bad.csv").write_text("loss\n0.8\n-1\n")


def test_a_law_of_other_columns_is_asked_by_a_table_and_names_its_target(other):
    call("other.json", "--points", "losses.csv", "--out", "q.csv")
    table = pd.read_csv("q.csv")
    assert list(table.columns) == ["loss", "accuracy_pred", "accuracy_lo", "accuracy_hi", "form", "warning"]
    low, high, middle, slope = PLANTED["downstream"][0]
    want = low + (high - low) / (1 + np.exp(slope * (table.loss - middle)))
    assert table.accuracy_pred.to_numpy() == pytest.approx(want, abs=1e-3)


def test_what_else_a_law_reads_is_given_beside_one_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    theta, x = PLANTED["data_constrained"]
    runs = pd.DataFrame(x).assign(loss=values(find("data_constrained"), np.array([theta]), x)[0])
    fit = scaling.fit(runs, law="data_constrained", n_bootstrap=0)
    (tmp_path / "fit.json").write_text(json.dumps(fit.to_json()))
    model = ("fit.json", "--params", "1e9", "--tokens", "1e11")
    assert call(*model, "--given", "unique_tokens=1e10", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    expected = fit.predict(n_params=1e9, n_tokens=1e11, unique_tokens=1e10)
    assert row["loss_pred"] == pytest.approx(float(expected.loss)) and row["unique_tokens"] == 1e10
    for wrong in ([], ["--given", "batch_tokens=1e6"]):
        assert cli.main(["predict", *model, *wrong]) == 2
        assert "say what else it reads by --given" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--flops", "1e20"], "only a law of loss by n_params (or n_active) and n_tokens"),
        (["--params", "1e9", "--tokens", "1e10"], "say what else it reads by --given COLUMN=NUMBER, or"),
        (["--points", "points.csv"], "no column loss"),
        (["--points", "bad.csv"], "row 2: loss=-1"),
    ],
)
def test_what_a_law_of_other_columns_cannot_tell_is_refused(other, capsys, arguments, words):
    assert cli.main(["predict", "other.json", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["fit.json"], "give one of"),
        (["fit.json", "--flops", "1e20", "--params", "1e9"], "give one of"),
        (["fit.json", "--params", "1e9"], "go together"),
        (["fit.json", "--loss", "1.0"], "out of reach"),
        (["fit.json", "--flops", "1e20", "--max_params", "-1"], "max_params=-1"),
        (["fit.json", "--flops", "1e20", "--given", "unique_tokens=1e9"], "takes no other columns"),
        (
            ["fit.json", "--params", "1e9", "--tokens", "1e10", "--max_tokens", "1e9"],
            "go with --flops or --loss",
        ),
        (["fit.json", "--params", "-1e9", "--tokens", "1e10"], "positive"),
        (["fit.json", "--flops", "much"], "expected a number"),
        (["fit.json", "--params", "7Q", "--tokens", "1e10"], "'7Q' is not a number; write 1e9, 7B"),
        (["fit.json", "--flops", "1e20", "--level", "90"], "must lie between 0 and 1"),
        (["fit.json", "--flops", "-1e20"], "positive and finite"),
        (["none.json", "--flops", "1e20"], "isoflop fit"),
        (["points.csv", "--flops", "1e20"], "not JSON"),
        (["fit.json", "--points", "none.csv"], "does not exist"),
        (["fit.json", "--points", "points.csv", "--columns", "n_params=M"], "no column 'M'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(folder, capsys, arguments, words):
    assert cli.main(["predict", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and said.out == ""


def test_a_prediction_beyond_the_runs_says_how_far_in_words_and_numbers(folder, fit, capsys):
    largest = isoflop_runs().table
    n, d = largest.n_params.max(), largest.n_tokens.max()
    assert call("fit.json", "--params", 2 * n, "--tokens", d / 1.5) == 0
    compute = 6 * (2 * n) * (d / 1.5) / 3e19
    words = f"{compute:.3g} times their largest FLOPs (6·N·D), 2 times their largest n_params"
    assert f"\nwarning: reaches further than the runs: {words}\n" in capsys.readouterr().out
    call("fit.json", "--params", 2 * n, "--tokens", d / 1.5, "--json")
    row = json.loads(capsys.readouterr().out)[0]
    assert row["reach"] == pytest.approx({"flops": compute, "n_params": 2.0}) and words in row["warning"]
    call("fit.json", "--flops", "1e19,1e21", "--json")
    within, far = json.loads(capsys.readouterr().out)
    assert within["reach"] == {} and within["warning"] == ""
    assert far["reach"]["flops"] == pytest.approx(1e21 / 3e19) and far["reach"]["n_params"] > 1


def test_where_a_law_knows_no_best_size_that_is_said(folder, fit, capsys):
    law = find("chinchilla")
    theta = np.array([{"B": 0.0}.get(name, 1.0) for name in law.params])  # tokens buy nothing
    forecast = dataclasses.replace(
        fit.forecast, law="chinchilla", theta=theta, samples=np.tile(theta, (20, 1)), center=theta,
        covariance=np.zeros((len(theta), len(theta))),
    )  # fmt: skip
    endless = dataclasses.replace(fit, forecast=forecast)
    (folder / "fit.json").write_text(json.dumps(endless.to_json()))
    call("fit.json", "--flops", "1e21", "--max_tokens", 1e12)
    assert "no best size is known" in capsys.readouterr().out


def test_the_level_of_the_intervals_is_a_choice(folder, fit, capsys):
    assert cli.main(["predict", "fit.json", "--params", "7B", "--tokens", "3T", "--level", "0.995"]) == 0
    want = dataclasses.replace(fit, level=0.995).predict(7e9, 3e12)
    said = capsys.readouterr().out
    assert f"{want.loss:.4f} [{want.lo:.4f}, {want.hi:.4f}]" in said and "(99.5% intervals" in said
