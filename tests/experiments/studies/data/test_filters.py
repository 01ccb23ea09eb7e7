"""The study of filters: conditions, gains by hand, and a tiny one from end to end."""

import json
import random

import numpy as np
import pandas as pd
import pytest

from experiments.data_configs import DataConfig
from experiments.studies.data.filters import BASE, Settings, conditions, gains, plan
from tests.experiments.data.sources.test_planted_dirt import clean, is_training
from tests.tiny_run import isoflop


def test_every_condition_has_the_same_tokens_and_seeds():
    settings = Settings(filters=("markup",), n_seeds=2)
    corpora = conditions(settings)
    assert list(corpora) == [
        *(BASE, "markup", "default chain", "no duplicates", "default chain, no duplicates", "by label"),
    ]
    runs = plan(settings, corpora)
    assert len({run.run_id for _, run in runs}) == len(runs) == 12
    assert {(run.n_tokens, run.seed) for _, run in runs} == {(settings.n_tokens, 0), (settings.n_tokens, 1)}


def test_gains_are_means_of_differences_seed_by_seed():
    rows = [{"condition": BASE, "seed": seed, "loss": 2.0 + seed, "n_unique": 100} for seed in range(3)]
    for seed, gain in enumerate((0.1, 0.2, 0.3)):
        rows.append({"condition": "a", "seed": seed, "loss": 2.0 + seed - gain, "n_unique": 80})
    rows.append({"condition": "b", "seed": 7, "loss": 1.0, "n_unique": 1})
    table = pd.DataFrame(rows)
    found = gains(table, 0.9).set_index("condition")
    half = 2.919986 * 0.1 / np.sqrt(3)
    assert found.loc["a", "gain"] == pytest.approx(0.2)
    assert found.loc["a", ["lo", "hi"]].tolist() == pytest.approx([0.2 - half, 0.2 + half])
    assert found.loc[BASE, ["gain", "lo", "hi"]].tolist() == [0, 0, 0]
    assert found.loc["b", "n_seeds"] == 0 and np.isnan(found.loc["b", "gain"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"n_seeds": 1}, "n_seeds=1; an interval needs at least 2"),
        ({"level": 1.0}, "level=1.0"),
        (
            {"data": DataConfig(vocab="sentencepiece", vocab_size=500)},
            "compared on one corpus in bytes",
        ),
    ],
)
def test_wrong_settings_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(**changes)


@pytest.mark.slow
@pytest.mark.usefixtures("prepares_here")
def test_a_tiny_study_says_what_each_filter_buys(tmp_path, capsys):
    from experiments.data.sources import planted_dirt

    documents = planted_dirt.records(map(clean, range(600)), is_training)
    lines = [json.dumps({"text": each.text}) + "\n" for each in documents]
    random.Random(0).shuffle(lines)
    (tmp_path / "text.jsonl").write_text("".join(lines))
    settings = {
        "data.task": "files",
        "data.path": tmp_path / "text.jsonl",
        "filters": '["markup"]',
        "n_seeds": 2,
    }
    settings |= {"d_model": 16, "n_tokens": 20_000, "seq_len": 32, "batch_tokens": 256, "n_val_tokens": 2000}
    out = tmp_path / "study"
    overrides = [f"--set={name}={value}" for name, value in settings.items()]
    assert isoflop("study", "filters", "--out", str(out), "--workers=1", *overrides) == 0
    assert "default chain, no duplicates" in capsys.readouterr().out
    table = pd.read_csv(out / "filters.csv")
    assert len(table) == 10 and np.isfinite(table.loss).all()
    unique = table.groupby("condition").n_unique.first()
    assert unique["default chain, no duplicates"] < unique["default chain"] < unique["markup"] < unique[BASE]
    assert (out / "filters.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((out / "filters.json").read_text())["conditions"]) == 5
