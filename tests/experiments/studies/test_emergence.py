"""The study of emergence: its ladder, and its answers for a trained model."""

import json

import pandas as pd
import pytest

from experiments.studies import load_study
from experiments.studies.emergence import Settings, evaluate_run, finish, plan
from scaling.table.runs import Runs
from tests.tiny_run import make_study


def test_the_ladder_grows_in_compute_and_shares_all_but_size():
    configs = plan(Settings())
    flops = [rung.flops for rung in Settings().ladder]
    assert flops == sorted(flops) and len(configs) == len(flops) >= 8
    assert {(c.optimizer.lr, c.batch_tokens, c.seed) for c in configs} == {(1e-2, 512, 0)}
    tokens_each = [c.n_tokens / f for c, f in zip(configs, flops)]
    assert max(tokens_each) > min(tokens_each)  # larger models pay more for a token


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ('ladder=[{"d_model":16,"flops":1e10}]', "ladder has 1 models; the tests need 5"),
        ("answers=[2,100]", "allowed are 1 to 64, half a row"),
    ],
)
def test_a_study_that_cannot_be_tested_is_refused(override, words):
    with pytest.raises(ValueError, match=words):
        load_study("emergence", [override])


def test_a_trained_model_is_asked_and_the_page_tells(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    run = make_study(tmp_path / "study", tmp_path / "cache")
    settings = Settings(seq_len=32, answers=(2, 4))
    asked, misprints = evaluate_run(settings, run)
    assert [row["n_answer"] for row in asked] == [2, 4]
    assert asked[0]["exact_match"] >= asked[1]["exact_match"]
    assert [round(row["loss"]) for row in misprints] == [6, 6, 6]  # it knows nothing: log 259 = 5.6 nats
    assert (asked, misprints) == evaluate_run(settings, run)

    row = {"run_id": run.name, "status": "done", "n_params": 5000, "n_tokens": 640, "flops": 1e8, "loss": 5.6}
    table = pd.DataFrame([row])
    table.to_csv(tmp_path / "study/runs.csv", index=False)
    (tmp_path / "study/study.json").write_text(json.dumps({"name": "emergence"}))
    words = finish(settings, tmp_path / "study", Runs(table))
    assert words.count("no test (") == 5 and "different scales" in words
    assert len(pd.read_csv(tmp_path / "study/emergence.csv")) == 2
    assert "Inverse scaling" in (tmp_path / "study/report.html").read_text()
