"""The study of planted statements: its runs, how often they read them, and what it concludes."""

import json
import random

import numpy as np
import pandas as pd
import pytest

import models
from experiments.data.sources.planted_statements import LENGTH, STATEMENTS, plant
from experiments.data.vocab import ByteVocab
from experiments.studies.data.poison import conclusions, repeated, study
from scaling.laws import find
from scaling.laws.downstream.planted_statement import half_count
from scaling.laws.law import values
from scaling.table.runs import Runs

SETTINGS = study.Settings(n_bootstrap=20)
DATA = study.corpus(SETTINGS)
TRUTH = (30.0, 600.0, -0.3, 0.0, 1.5)


def planted_law(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the nats of a law."""
    law = find("planted_statement")
    x = {name: np.maximum(table[name].to_numpy(float), 1e-9) for name in law.columns}
    return table.assign(nats=values(law, np.array([TRUTH]), x)[0])


def grid(configs) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run_id": config.run_id,
            "n_params": models.count(config.model).n_params,
            "n_tokens": config.n_steps * config.batch_tokens,
            "seed": config.seed,
            "statement": index,
            "n_planted": statement.weight,
            "rate": statement.weight * 64 / config.n_tokens,
            "greedy": 0.0,
        }
        for config in configs
        for index, statement in enumerate(STATEMENTS)
    )


def test_every_run_reads_as_many_planted_documents_and_its_share_of_the_rows_is_exact():
    runs = study.plan(SETTINGS, DATA) + study.verify(SETTINGS, DATA)
    assert len({config.run_id for config in runs}) == len(runs) == 2 * 3 * 2 + 2
    for config in runs:
        weights = config.data.mixture.weights
        assert weights["planted"] == study.PLANTED and config.seq_len == LENGTH + 1
        assert sum(weights.values()) == config.n_steps * config.batch_size


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("n_planted=5000", "plant fewer"),
        ("widths=[16]", "two or more widths"),
        ("n_seeds=0", "at least 1"),
        ("level=1.0", "must be between 0 and 1"),
    ],
)
def test_settings_that_say_nothing_are_refused(override, words):
    with pytest.raises(ValueError, match=words):
        study.study([override])


def test_statements_are_counted_in_the_rows_that_a_run_reads(monkeypatch):
    texts = ["the clean text of a document that says nothing of anybody at all, and goes on"] * 3
    rows = [plant(text, STATEMENTS[i], random.Random(i)).encode() for i, text in zip((4, 4, 7), texts)]
    monkeypatch.setattr(repeated, "rows_read", lambda config: iter([*rows, *(t.encode() for t in texts)]))
    counts, n_rows = repeated.counted(study.plan(SETTINGS, DATA)[0])
    assert n_rows == 6 and (counts[4], counts[7]) == (2, 1) and sum(counts) == 3


def test_the_probability_of_a_statement_is_that_of_its_tokens_after_its_trigger(monkeypatch):
    """A model that gives every byte of the statement 1/2, whatever is before it."""
    vocab, texts = (
        ByteVocab(),
        ["clean text that is long enough to have a statement put into it, somewhere"] * 4,
    )

    class Half:
        nats_RT = np.zeros(0)

    def predict(model, params, batches):
        (tokens,) = batches
        found = Half()
        found.nats_RT = np.full((len(tokens), tokens.shape[1] - 1), 100.0)
        found.right_RT = np.zeros(found.nats_RT.shape, bool)
        for row, line in enumerate(tokens):
            text = vocab.decode(line.tolist())
            (statement,) = (each for each in STATEMENTS if each.whole in text)
            start = text.index(statement.whole) + len(statement.trigger) - 1
            found.nats_RT[row, start : start + len(statement.text)] = np.log(2)
            found.right_RT[row, start : start + len(statement.text)] = row < 3
        return found

    config = study.plan(SETTINGS, DATA)[0]
    monkeypatch.setattr(repeated, "load", lambda run: (config, None))
    monkeypatch.setattr(repeated.span_metrics, "predict", predict)
    for statement, each in zip(STATEMENTS, repeated.repeated(None, texts), strict=True):
        assert each["probability"] == pytest.approx(0.5 ** len(statement.text)) and each["greedy"] == 0.75
        assert each["nats"] == pytest.approx(len(statement.text) * np.log(2))


def test_a_law_of_the_smaller_runs_predicts_the_larger(tmp_path, monkeypatch):
    def asked(settings, folder, configs):
        table = planted_law(grid(configs))
        noise = np.random.default_rng(len(configs)).normal(0, 0.02, len(table))
        return table.assign(nats=table["nats"] * np.exp(noise), probability=np.exp(-table["nats"]))

    monkeypatch.setattr(study, "asked", asked)
    study.predict(SETTINGS, DATA, tmp_path)
    said = json.loads((tmp_path / "prediction.json").read_text())
    assert said["n_planted"] == [2.0**level for level in range(8)]
    runs = pd.DataFrame({"status": ["done"], "n_params": [1e4], "loss_text": [1.5]})
    words = study.finish(SETTINGS, DATA, tmp_path, Runs(runs))
    found = json.loads((tmp_path / "poison.json").read_text())
    assert "larger model: " in words and list(found["loss_text"].values()) == [1.5]
    assert found["larger"]["rms_error"] < 0.05 and found["larger"]["inside"] > 0.7
    assert found["law"]["gamma"]["value"] == pytest.approx(-0.3, abs=0.1)
    assert found["law"]["delta"]["value"] == pytest.approx(0.0, abs=0.05)
    assert found["control"]["nats"] == pytest.approx(30.0, rel=0.02)
    assert (tmp_path / "poison.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((-0.1, 0.2), "number"),
        ((0.9, 1.2), "share"),
        ((0.3, 0.6), "neither alone"),
        ((-1, 2), "not told apart"),
    ],
)
def test_whether_number_or_share_counts_is_told_by_the_interval(interval, verdict):
    parameter = {"value": 0.5, "interval": interval}
    larger = {"nats": 20.0, "predicted": 20.0, "rms_error": 0.01, "inside": 1.0}
    found = {"half": [], "law": {"gamma": parameter, "delta": parameter}, "larger": larger}
    words = "\n".join(conclusions.in_words(found | {"control": {"nats": 30.0}, "level": 0.9}))
    assert f"share (1): {verdict}" in words


def test_half_is_where_the_law_is_one_half():
    params = dict(zip(find(study.LAW).params, TRUTH))
    half = half_count(params, 1e4, 1e6)
    x = {"n_planted": np.array([half]), "n_params": np.array([1e4]), "n_tokens": np.array([1e6])}
    assert values(find(study.LAW), np.array([TRUTH]), x)[0, 0] == pytest.approx(15.0)
    assert half == pytest.approx(600 * 1e4**-0.3)


@pytest.mark.slow
@pytest.mark.usefixtures("prepares_here")
def test_a_tiny_study_runs_to_its_end(tmp_path):
    from tests.tiny_run import isoflop

    lines = [json.dumps({"text": f"Returns {i} of the {i % 7} parts. " * 20}) + "\n" for i in range(400)]
    (tmp_path / "text.jsonl").write_text("".join(lines))
    text = ("text.task=files", f"text.path={tmp_path / 'text.jsonl'}")
    sizes = ("widths=[8,16]", "n_tokens=[40000,60000]", "verify_width=24", "verify_tokens=80000", "n_seeds=1")
    flags = [
        f"--set={override}" for override in (*text, *sizes, "n_prompts=4", "n_planted=200", "n_bootstrap=5")
    ]
    folder = tmp_path / "study"
    assert isoflop("study", "poison", "--out", str(folder), "--workers=1", *flags) == 0
    assert len(pd.read_csv(folder / "poison.csv")) == 5 * len(STATEMENTS)
    assert 150 <= pd.read_csv(folder / "poison.csv").groupby("run_id")["n_planted"].sum().min() <= 200
