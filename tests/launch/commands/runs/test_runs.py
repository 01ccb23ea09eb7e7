"""`isoflop runs`, `diff` and `plot` of a study in the middle of things and of somebody's table."""

import csv
import io
import json
import warnings
from dataclasses import replace

import pytest

from experiments.config import OptimizerConfig
from launch import cli
from launch.driver.stages import planned_run
from launch.store import Store
from tests.launch.driver.test_stages import config, result

DECAYS = (0.0, 0.1, 0.2)


@pytest.fixture
def study(tmp_path) -> Store:
    """A run for each weight decay, of which the last is not done, and one that the study no longer has."""
    store = Store(tmp_path / "study")
    store.create()
    configs = [config(optimizer=OptimizerConfig(0.1, weight_decay=decay)) for decay in DECAYS]
    configs.append(replace(configs[0], seed=7))
    store.plan.add([planned_run("grid", each) for each in configs])
    *first, last, _ = store.plan.runs()
    for loss, run_id in zip((2.5, 2.25), first):
        store.finish(store.claim(run_id), result(0.1, run_id=run_id, loss=loss, n_steps=10, n_params=22_400))
    store.plan.keep_only({*first, last})
    return store


def printed(capsys, *words) -> str:
    assert cli.main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def refused(capsys, *words) -> str:
    assert cli.main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_all_runs_of_a_study_are_rows_with_the_settings_that_differ(study, capsys):
    a, b, c, _ = study.plan.runs()
    heading, *rows, count = [line.split() for line in printed(capsys, "runs", study.folder).splitlines()]
    assert heading == [
        *("run_id", "status", "n_params", "n_tokens", "flops", "lr", "loss", "optimizer.weight_decay")
    ]
    assert [[row[0], row[1], row[-2], row[-1]] for row in rows] == [
        [a, "done", "2.5000", "0"],
        [b, "done", "2.2500", "0.1"],
        [c, "planned", "–", "0.2"],
    ]
    assert count == ["3", "runs"]


def test_rows_are_chosen_by_a_condition_over_columns_and_settings_and_sorted(study, capsys):
    a, b, c, _ = study.plan.runs()
    asked = ("runs", study.folder, "--columns", "run_id,weight_decay,optimizer,schedule.warmup,loss", "--csv")
    text = printed(
        capsys, *asked, "--where", "optimizer.lr == 0.1 and not weight_decay > 0.1", "--sort", "loss"
    )
    assert list(csv.reader(io.StringIO(text))) == [
        ["run_id", "optimizer.weight_decay", "optimizer.name", "schedule.warmup", "loss"],
        [b, "0.1", "adamw", "0.05", "2.25"],
        [a, "0.0", "adamw", "0.05", "2.5"],
    ]
    rows = json.loads(printed(capsys, "runs", study.folder, "--json", "--sort=-optimizer.weight_decay"))
    assert [row["run_id"] for row in rows] == [c, b, a] and rows[0]["loss"] is None
    assert rows[0]["n_tokens"] == 640 and rows[0]["family"] == "transformer"
    assert "1 of 3 runs" in printed(capsys, "runs", study.folder, "--where", "loss < 2.3")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--where", "weight_dekay > 0"), "no column 'weight_dekay'; did you mean"),
        (("--where", "weight_decay"), "a condition is true or false"),
        (("--sort", "name"), "did you mean optimizer.name or schedule.name?"),
        (("--csv", "--json"), "exclude each other"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(study, capsys, words, said):
    assert said in refused(capsys, "runs", study.folder, *words)


def test_a_table_of_somebody_else_is_shown_under_our_names(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("N,tokens,val loss\n1e6,2e7,3.5\n2e6,4e7,3.25\n")
    rows = json.loads(printed(capsys, "runs", tmp_path / "t.csv", "--json", "--where", "N > 1e6"))
    assert rows == [{"n_params": 2e6, "n_tokens": 4e7, "loss": 3.25}]
    where = "`val loss` < 3.3 and tokens == 4e7"
    assert "1 of 2 runs" in printed(capsys, "runs", tmp_path / "t.csv", "--where", where)


def test_a_table_of_many_columns_is_shown_without_a_warning(tmp_path):
    names = [f"c{i}" for i in range(200)]
    (tmp_path / "t.csv").write_text(f"{','.join(names)}\n{','.join('1' * 200)}\n")
    with warnings.catch_warnings(action="error"):
        assert cli.main(["runs", str(tmp_path / "t.csv"), "--csv"]) == 0


def test_two_runs_differ_in_settings_and_results(study, capsys):
    a, b, c, _ = study.plan.runs()
    found = json.loads(printed(capsys, "diff", study.folder / a[:6], study.folder / "runs" / b, "--json"))
    assert found == {
        "runs": [a, b],
        "settings": {"optimizer.weight_decay": [0.0, 0.1]},
        "result": {"loss": [2.5, 2.25]},
    }
    lines = printed(capsys, "diff", study.folder, a, b).splitlines()
    assert [line.split() for line in lines[1:]] == [
        *(["settings"], ["optimizer.weight_decay", "0", "0.1"]),
        *(["result"], ["loss", "2.5000", "2.2500", "-0.25", "(-10.0%)"]),
    ]
    text = printed(capsys, "diff", study.folder, a, c)
    assert "result: nothing differs" not in text and f"{c} has no result yet" in text
    assert "settings: nothing differs" in printed(capsys, "diff", study.folder, a, a)
    assert "no run begins so" in refused(capsys, "diff", study.folder, a, "zz")


def test_a_figure_is_drawn_of_any_columns(study, tmp_path, capsys):
    out = tmp_path / "f.svg"
    text = printed(capsys, "plot", study.folder, "x=weight_decay", "y=loss", "color=optimizer", "--out", out)
    assert text == f"{out}: 2 points; 1 of 3 without a finite value are left out.\n"
    assert out.read_text().startswith("<svg") and "optimizer.weight_decay" in out.read_text()
    assert "allowed are .png, .svg, .html" in refused(
        capsys, "plot", study.folder, "--out", tmp_path / "f.gif"
    )
    assert "none of 3 rows has both" in refused(capsys, "plot", study.folder, "y=epochs", "--out", out)
