"""The study of repetition: its runs, and what it concludes from losses of a known law."""

import json

import numpy as np
import pandas as pd
import pytest

import models
from experiments.data_configs import DataConfig
from experiments.studies.data import repetition
from scaling.laws import find
from scaling.laws.law import values
from scaling.table.runs import Runs

SETTINGS = repetition.Settings(n_bootstrap=20)
DATA = DataConfig(task="mixture", sources=(SETTINGS.source,))


def test_every_run_reads_its_part_of_the_corpus_for_its_epochs():
    runs = [config for stage in repetition.plan(SETTINGS, DATA) for config in stage]
    assert len(runs) == len({config.run_id for config in runs}) == 3 * 2 * (2 * 6 + 4)
    parts = {(config.data.mixture.unique_tokens["text"], config.n_tokens) for config in runs}
    assert (8_000.0, 320_000) in parts and (512_000.0, 512_000) in parts
    assert {config.n_tokens for config in repetition.plan(SETTINGS, DATA)[1]} == {320_000, 1_280_000}
    # Runs on one part share their steps; those of fresh text have a part of their own each.
    assert len({config.prefix_key for config in runs}) == 3 * 2 * (2 + 4)


@pytest.mark.parametrize(
    ("override", "words"), [("widths=[16]", "9 runs or more"), ("level=0", "must be between 0 and 1")]
)
def test_settings_that_say_nothing_are_refused(override, words):
    overrides = [override, "epochs=[1,2]", "fresh=[]"] if "widths" in override else [override]
    with pytest.raises(ValueError, match=words):
        repetition.study(overrides)


@pytest.mark.slow
def test_repeats_that_do_harm_are_told_by_weight_decay(tmp_path):
    """Losses of the law of overfitting, whose penalty is 0.3 times as large at the stronger weight decay."""
    law, rng, rows = find("overfitting"), np.random.default_rng(0), []
    shorter, longest = repetition.plan(SETTINGS, DATA)
    for config in (*shorter, *longest):
        unique = min(config.data.mixture.unique_tokens["text"], config.n_tokens)
        x = {
            "n_params": models.count(config.model).n_params,
            "n_tokens": config.n_tokens,
            "unique_tokens": unique,
        }
        penalty = 0.05 if config.optimizer.weight_decay < 1 else 0.015
        theta = np.array([[1.2, 60.0, 300.0, 0.4, 0.45, penalty, 0.7, 0.6]])
        loss = values(law, theta, {name: np.array([float(v)]) for name, v in x.items()})[0, 0]
        noisy = loss * np.exp(0.001 * rng.standard_normal())
        about = {"run_id": config.run_id, "status": "done", "flops": 6.0 * x["n_params"] * x["n_tokens"]}
        rows.append(about | x | {"loss": noisy})
    repetition.predict(SETTINGS, DATA, tmp_path, Runs(pd.DataFrame(rows[: len(shorter)])))
    words = repetition.finish(SETTINGS, DATA, tmp_path, Runs(pd.DataFrame(rows)))
    found = json.loads((tmp_path / "repetition.json").read_text())
    weak, strong = (each for each in found["laws"] if each["law"] == "overfitting")
    for fit in (weak, strong):
        assert fit["params"]["delta"] == pytest.approx(0.7, abs=0.1) and fit["median_error"] < 0.003
    assert strong["params"]["P"] / weak["params"]["P"] == pytest.approx(0.3, abs=0.1)
    worse = next(each for each in found["laws"] if each["law"] == "data_constrained")
    assert worse["objective"] > 3 * weak["objective"]
    assert weak["harm"]["nats"] == pytest.approx(0.05 * 39**0.7, rel=0.15)
    by_law = {(each["weight_decay"], each["law"]): each for each in found["longest"]}
    assert (
        abs(by_law[0.1, "overfitting"]["mean_error"])
        < 0.01
        < by_law[0.1, "data_constrained"]["largest_error"]
    )
    fresh = {(each["part"], each["epochs"]): each["mean"] for each in found["against_fresh"]}
    assert (
        fresh[32_000, 16] > fresh[32_000, 4] > 0
        and (tmp_path / "repetition.png").read_bytes()[:4] == b"\x89PNG"
    )
    rise = {(each["weight_decay"], each["best_epochs"]): each["rise"] for each in found["repeats"]}
    assert all(value >= 0 for value in rise.values()) and "lowest after" in words
    assert all(list(each["loss"]) == ["1", "2", "4", "8", "16", "40"] for each in found["repeats"])
