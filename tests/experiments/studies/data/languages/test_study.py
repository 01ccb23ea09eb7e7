"""The study of languages: its runs, what it refuses, and a tiny one from end to end."""

import json
import random

import numpy as np
import pandas as pd
import pytest

from experiments.studies import load_study
from experiments.studies.data.languages.plan import Settings, corpora, first, last
from tests.tiny_run import isoflop


def test_runs_differ_and_those_that_are_compared_are_equal_in_all_but_the_sampling():
    settings = Settings(text="text.jsonl", parallel="parallel.jsonl", n_seeds=2)
    runs = [*first(settings, corpora(settings)), *last(settings, corpora(settings))]
    assert len({run.config.run_id for run in runs}) == len(runs) == 2 * (5 + 1 + 5 + 10 + 1)
    sampled = [run.config for run in runs if run.part == "sampling"]
    assert {(run.n_tokens, run.model, run.seed) for run in sampled} == {
        (settings.n_tokens, sampled[0].model, seed) for seed in (0, 1)
    }
    of_two = [run.config for run in runs if run.part == "transfer" and "+" in run.sampling]
    assert {run.n_tokens for run in of_two} == {2 * settings.transfer_tokens}
    assert all(len(run.data.mixture.weights) == 2 for run in of_two if run.data.mixture)


@pytest.mark.parametrize(
    "override, words",
    [
        ("n_seeds=1", "n_seeds=1; intervals over seeds take 2"),
        ('languages=["en","tlh"]', "Settings.languages: 'tlh' is none of en"),
        ('apart=["sw"]', "Settings.apart: 'sw' is none of"),
        ("alpha_apart=0.7", "another one that is kept apart"),
        ("vocab=bytes", "held against bytes"),
        ("batch_tokens=100", "is not a multiple of seq_len"),
    ],
)
def test_settings_that_cannot_be_are_refused(override, words):
    with pytest.raises(ValueError, match=words):
        load_study("languages", [override])


def test_without_a_corpus_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_PUBLIC_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"there is no .*; set ISOFLOP_PUBLIC_DATA to") as error:
        load_study("languages", []).prepared()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_tiny_study_runs_through(tmp_path, monkeypatch, capsys):
    """Four languages of letters of their own, of which each sentence has the same meaning."""
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    draw = random.Random(0)
    letters = {"en": "abcde ", "de": "bcdef ", "es": "mnopq ", "is": "uvwxy "}

    def lines(n, **fields):
        for i in range(n):
            words = draw.choices(range(6), k=60)
            for code, own in letters.items():
                text = "".join(own[w] for w in words)
                yield json.dumps({"lang": code, "text": text} | {k: f"{i:04}" for k in fields}) + "\n"

    (tmp_path / "text.jsonl").write_text("".join(lines(300)))
    (tmp_path / "parallel.jsonl").write_text("".join(lines(8, id=True)))
    settings = {
        "text": tmp_path / "text.jsonl",
        "parallel": tmp_path / "parallel.jsonl",
        "languages": '["en", "de", "es", "is"]',
        "web_bytes": 300_000,
        "apart": '["is"]',
        "transfer": '["en", "es"]',
        "alphas": "[1.0, 0.3]",
        "vocab": "sentencepiece",
    }
    settings |= {"n_seeds": 2, "transfer_tokens": 2048, "n_tokens": 8192, "d_model": 16, "seq_len": 32}
    settings |= {
        "batch_tokens": 256,
        "n_val_tokens": 512,
        "n_sentences": 8,
        "n_bootstrap": 20,
        "vocab_size": 280,
    }
    out = tmp_path / "study"
    overrides = [f"--set={name}={value}" for name, value in settings.items()]
    assert isoflop("study", "languages", "--out", str(out), "--workers=1", *overrides) == 0
    assert "a sampling kept apart, languages kept apart" in capsys.readouterr().out
    table = pd.read_csv(out / "languages.csv")
    assert len(table) == 2 * ((4 + 1 + 1) * 4 + 3 * 2) and np.isfinite(table["bits"]).all()
    found = json.loads((out / "languages.json").read_text())
    assert [each["apart"] for each in found["verified"]] == [False, False, False, True]
    assert len(found["pairs"]) == 2
    for name in ("languages", "cost", "law", "transfer"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
