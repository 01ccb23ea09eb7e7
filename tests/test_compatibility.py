"""What an earlier version wrote still opens: a study's folder and a fit, both of November 2026.

tests/data/old/study.tar.xz is the folder that `isoflop study quickstart` wrote with the settings in its
study.json, without page and figures and with the checkpoints of two runs only: the last one of TRAINED, an
early one of BEGUN. fit.json is what `isoflop fit table.csv --bootstrap 20 --out fit.json` wrote. The
numbers expected here are those that the commands printed then, but for the ends of intervals, which are wider
now: they knew of no distance from the runs.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import scaling
from tests.tiny_run import isoflop

OLD = Path(__file__).parent / "data/old"
TRAINED, BEGUN = "7024f23401bf", "41693290f215"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old") / "study"
    shutil.unpack_archive(OLD / "study.tar.xz", folder)
    return folder


@pytest.fixture(scope="module")
def overrides(study) -> list[str]:
    return [f"--set={override}" for override in json.loads((study / "study.json").read_text())["overrides"]]


@pytest.fixture
def copy(study, tmp_path) -> Path:
    return shutil.copytree(study, tmp_path / "study")


@pytest.fixture(scope="module")
def token_cache(tmp_path_factory):
    """Where the tokens of the walks are prepared, once for all tests that need them."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("ISOFLOP_CACHE", str(folder))
        yield folder


def printed(capsys, *arguments: str):
    """What a command prints as JSON."""
    assert isoflop(arguments[0], *arguments[1:], "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_its_state_is_read(study, capsys):
    status = printed(capsys, "status", str(study))
    assert status["finished"] and status["counts"].pop("done") == 16 and not any(status["counts"].values())
    assert {stage: counts["done"] for stage, counts in status["stages"].items()} == {
        "tune": 6,
        "grid": 9,
        "verify": 1,
    }


def test_once_finished_it_is_finished(copy, overrides, capsys):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert isoflop("study", "quickstart", "--out", str(copy), *overrides) == 0
    assert (
        "predicted 1.7835 ± 0.2590 nats per token (90% interval), measured 2.0069" in capsys.readouterr().out
    )
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_its_runs_are_planned_again(copy, overrides, token_cache, capsys):
    """Also: the tokens, whose hash is in every run's identity, are still the same. Since then the study
    refines its rates and repeats runs."""
    said = json.loads((copy / "study.json").read_text())
    said["overrides"] += ["refine=0", "again=0"]
    (copy / "study.json").write_text(json.dumps(said))
    overrides = [*overrides, "--set=refine=0", "--set=again=0"]
    planned = printed(capsys, "plan", "quickstart", "--out", str(copy), "--nomemory", *overrides)
    rows = pd.read_csv(copy / "runs.csv")
    for stage, runs in planned.items():
        assert [run["run_id"] for run in runs] == list(rows.run_id[rows.stage == stage]), stage
    assert not any((copy / "store/dropped").iterdir())


@pytest.mark.slow
def test_its_report_is_written(copy, capsys):
    assert isoflop("report", str(copy), "--out", str(copy / "report.html")) == 0
    assert "1.78" in (copy / "report.html").read_text()


def test_its_runs_are_fitted_as_they_were(study, capsys):
    fit = printed(capsys, "fit", str(study), "--bootstrap", "0", "--norelax", "--keep_all")
    old = json.loads((study / "fit.json").read_text())
    assert fit["n_points"] == old["n_points"] == 9
    assert fit["params"] == pytest.approx(old["params"], rel=1e-4, abs=1e-6)


def test_a_checkpoint_is_evaluated(study, capsys):
    found = printed(capsys, "evaluate", str(study / "runs" / TRAINED), "--file", str(OLD / "text.txt"))
    assert found["loss"] == pytest.approx(9.202992854799543, rel=1e-5)
    assert (found["n_tokens"], found["n_bytes"], found["context"]) == (70, 69, 32)


def test_a_checkpoint_says_what_it_said(study, capsys):
    greedy = ["--prompt", "4792", "--temperature", "0", "--max_tokens", "24"]
    assert isoflop("sample", str(study / "runs" / TRAINED), *greedy) == 0
    assert capsys.readouterr().out == "47929=99999=99999=99999\n9999\n"


@pytest.mark.slow
def test_a_run_goes_on_from_its_checkpoint(copy, token_cache):
    run = copy / "runs" / BEGUN
    old, loss = metrics(run), json.loads((run / "result.json").read_text())["loss"]
    (run / "result.json").unlink()
    # In a process of its own: training keeps signals from its process, and what that starts inherits it.
    command = [sys.executable, "-m", "launch.cli", "train", str(run / "config.json"), "--out", str(run)]
    subprocess.run(command, check=True, capture_output=True)
    assert json.loads((run / "result.json").read_text())["loss"] == pytest.approx(loss, rel=1e-3)
    assert list(metrics(run).step) == list(old.step)
    pd.testing.assert_frame_equal(metrics(run)[["train_loss"]], old[["train_loss"]], rtol=1e-3)


def metrics(run: Path) -> pd.DataFrame:
    return pd.read_json(run / "metrics.jsonl", lines=True)


@pytest.mark.parametrize(
    "which, flops, n_params, loss, lo, hi",
    [
        ("fit.json", 1e21, 2892677313.2444115, 2.244148838258359, 2.102128074950275, 2.284755878533668),
        # Its budget is spent as its runs were counted, as its page and verify.json (1.7835) always had it.
        ("study", 6e9, 29740.48056024129, 1.783150791330894, 1.54331815301865, 2.059962788528815),
    ],
)
def test_a_fit_predicts_what_it_predicted(study, which, flops, n_params, loss, lo, hi, capsys):
    path = study / "fit.json" if which == "study" else OLD / which
    (best,) = printed(capsys, "predict", str(path), "--flops", str(flops))
    assert (best["n_params"], best["loss"]) == pytest.approx((n_params, loss), rel=1e-6)
    assert (best["loss_lo"], best["loss_hi"]) == pytest.approx((lo, hi), rel=1e-6)


def test_a_loss_is_predicted_as_it_was(capsys):
    (row,) = printed(capsys, "predict", str(OLD / "fit.json"), "--params", "7e9", "--tokens", "1.4e11")
    assert row["loss_pred"] == pytest.approx(2.117073666485017, rel=1e-6)
    assert (row["loss_lo"], row["loss_hi"]) == pytest.approx((1.877772524664615, 2.175375310998889), rel=1e-6)


def test_the_same_table_gives_the_same_fit():
    old = json.loads((OLD / "fit.json").read_text())
    new = scaling.fit(scaling.read_runs(OLD / "table.csv"), n_bootstrap=0).to_json()
    assert new["params"] == pytest.approx(old["params"], rel=1e-5)
    assert old.keys() >= {"law", "params", "ci", "frontier", "n_points", "dropped", "objective", "delta"}
    assert new.keys() >= old.keys()  # those who read it find what they know; what came later is beside it
