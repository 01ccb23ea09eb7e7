"""One study has one answer, whoever is asked: page, calculator, fit, predict and next."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import scaling
from experiments.study_report import read_data
from launch import cli
from scaling.report import tables
from scaling.report.sections.calculator import RATIOS, grid
from tests.scaling.report.synthetic_study import CONVENTIONS, make_runs

BUDGET = 3e12


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study that fits the law itself, of models whose FLOPs are 1.4 to 1.1 times 6·N·D; one of its runs
    verified it."""
    folder = tmp_path_factory.mktemp("study")
    runs = make_runs()
    runs["flops"] = 6 * runs["n_params"] * runs["n_tokens"] * (1 + 0.4 * (runs["n_params"] / 5e3) ** -0.4)
    runs.to_csv(folder / "runs.csv", index=False)
    (folder / "runs.json").write_text(json.dumps({"conventions": CONVENTIONS}))
    fit = scaling.fit(scaling.read_runs(folder), relax=False, n_bootstrap=40, level=0.8)
    (folder / "fit.json").write_text(json.dumps(fit.to_json()))
    return folder


def said(capsys, *arguments):
    assert cli.main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_loss_of_a_budget_is_the_same_by_page_calculator_fit_predict_and_next(study, tmp_path, capsys):
    """At one budget they said 1.345, 1.333 and 1.318, by another form, by 6·N·D or by both."""
    (asked,) = said(capsys, "predict", study, "--flops", f"{BUDGET:g}")
    answer = [asked[name] for name in ("loss", "loss_lo", "loss_hi")]

    assert cli.main(["fit", str(study), "--out", str(tmp_path / "again.json")]) == 0
    printed = capsys.readouterr().out
    assert "by a mixture of forms, chinchilla " in printed
    assert "; fitted to 18 runs; C as counted, over 6·N·D 1.39 at" in printed
    (again,) = said(capsys, "predict", tmp_path / "again.json", "--flops", f"{BUDGET:g}")
    assert [again[name] for name in ("loss", "loss_lo", "loss_hi")] == pytest.approx(answer)
    assert again["level"] == 0.8 and again["n_params"] == pytest.approx(asked["n_params"])

    planned = said(capsys, "next", study, "--flops", "1e12", "--target", f"loss@{BUDGET:g}")
    assert [planned[name] for name in ("value", "lo", "hi")] == pytest.approx(answer)

    data = read_data(study)
    law = tables.runs(data).query("stage != 'tune'")
    drawn = tables.frontier(data, law)
    by_page = np.exp(np.interp(np.log(BUDGET), np.log(drawn["flops"]), np.log(drawn["loss"])))
    assert by_page == pytest.approx(answer[0], rel=2e-3)
    table = grid(data, law)
    middle = np.array(table["loss"])[:, len(RATIOS) // 2]
    by_calculator = np.exp(np.interp(np.log(BUDGET), np.log(table["flops"]), np.log(middle)))
    assert by_calculator == pytest.approx(answer[0], rel=2e-3)


def test_a_fit_of_before_costs_were_kept_has_them_from_the_runs_beside_it(study, tmp_path, capsys):
    content = json.loads((study / "fit.json").read_text())
    del content["flops_per_token"], content["n_runs"]
    (tmp_path / "fit.json").write_text(json.dumps(content))
    (tmp_path / "runs.csv").write_text((study / "runs.csv").read_text())
    answers = [said(capsys, "predict", folder, "--flops", "1e12")[0] for folder in (study, tmp_path)]
    for name in ("n_params", "n_tokens", "loss", "loss_lo", "loss_hi"):
        assert answers[0][name] == pytest.approx(answers[1][name])


def test_with_the_verification_run_the_law_knows_more_and_looks_further(study, tmp_path, capsys):
    assert cli.main(["fit", str(study), "--with_verify", "--out", str(tmp_path / "further.json")]) == 0
    printed = capsys.readouterr().out
    assert "19 runs" in printed and "the verification run is among the runs fitted" in printed
    runs = pd.read_csv(study / "runs.csv")
    largest = runs["flops"].max()
    assert f"{10 * largest:10.3g}  " in printed  # ten times the verification run's
    before, after = (
        said(capsys, "predict", place, "--flops", f"{10 * largest:g}")[0]
        for place in (study, tmp_path / "further.json")
    )
    assert after["loss_hi"] - after["loss_lo"] < before["loss_hi"] - before["loss_lo"]
    assert cli.main(["fit", str(study / "runs.csv"), "--with_verify", "--json"]) == 0
    without = scaling.read_runs(study)
    grid_alone = replace(without, table=without.table.query("stage != 'verify'"))
    with pytest.raises(ValueError, match="no finished verification run"):
        grid_alone.with_verification()
