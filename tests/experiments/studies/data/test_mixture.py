"""The study of mixtures: on planted losses it finds the best mixture; on trained ones it runs through."""

import dataclasses
import functools
import json

import numpy as np
import pandas as pd
import pytest

from experiments.data_configs import DataConfig
from experiments.fields import Numbers
from experiments.studies import load_study
from experiments.studies.budgets import Sweep
from experiments.studies.data import mixture
from experiments.training.train import train
from launch.driver.runs_table import read_table
from launch.driver.stages import planned_run
from scaling.table.runs import Runs
from tests.mixed_run import SIZES, make_mixed_cache
from tests.tiny_run import Hooks

# Loss of each domain: what its own share makes of it.
POWERS = {"code": 0.1, "prose": 0.05, "verse": 0.02}
TINY = mixture.Settings(
    n_mixtures=14,
    proxies=(Sweep(8, 1e7), Sweep(16, 2e7)),
    verify=Sweep(24, 4e7),
    n_checked=3,
    max_epochs=1000,
    seq_len=8,
    batch_tokens=64,
    n_val_tokens=8 * 24,
    n_bootstrap=8,
)


def test_too_few_mixtures_for_a_law_are_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(mixture, "domains", lambda settings: ["code", "prose", "verse"])
    assert len(mixture.design(TINY)) == 14
    with pytest.raises(ValueError, match="n_mixtures=13: too few for laws of 3 domains; give 14 or more"):
        mixture.design(dataclasses.replace(TINY, n_mixtures=13))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("cache")
        patch.setenv("ISOFLOP_CACHE", str(root))
        yield dataclasses.replace(TINY, data=DataConfig(fingerprint=make_mixed_cache(root), by="kind"))


def planted(configs) -> Runs:
    """The table of runs whose losses are powers of shares, and smaller for larger models."""
    rows = []
    for config in configs:
        weights = config.data.mixture.weights
        shares = {name: weights[name] / sum(weights.values()) for name in SIZES}
        row = {"run_id": config.run_id, "d_model": config.model.d_model}
        for name, share in shares.items():
            loss = 3 * (share + 0.006) ** -POWERS[name] / config.model.d_model**0.1
            row |= {f"share_{name}": share, f"loss_{name}": loss}
        rows.append(row)
    return Runs(pd.DataFrame(rows))


@pytest.mark.slow
def test_the_mixture_that_is_best_of_planted_losses_is_found_and_checked(settings, tmp_path):
    runs = planted(mixture.proxies(settings))
    configs = mixture.verify(settings, runs)
    mixture.predict(settings, tmp_path, runs)
    said = json.loads((tmp_path / "prediction.json").read_text())
    # Of Σ k s^-a the derivatives a k s^(-a-1) are equal at the best: shares are nearly as the powers.
    nearly = np.array(list(POWERS.values())) / sum(POWERS.values())
    assert np.allclose(list(said["shares"].values()), nearly, atol=0.06)
    assert max(said["held_out_error"].values()) < 0.02 and said["relative_gain"] > 0
    lo, hi = said["relative_gain_interval"]
    assert 0 < lo <= hi and lo * 0.8 < said["relative_gain"] < hi * 1.2
    words = mixture.finish(settings, tmp_path, planted([*mixture.proxies(settings), *configs]))
    found = json.loads((tmp_path / "mixture.json").read_text())
    assert found["measured_gain"] == pytest.approx(found["relative_gain"], rel=0.3)
    assert found["target"] <= found["best_of_checked"]
    assert found["rank_correlation"] == {"d_model=8": pytest.approx(1), "d_model=16": pytest.approx(1)}
    assert (tmp_path / "mixture.png").read_bytes()[:4] == b"\x89PNG" and "at 2× compute" in words


def test_the_target_weighs_domains(settings):
    only = dataclasses.replace(settings, target=Numbers(verse=2))
    best = mixture.best_of(only, mixture.fit_laws(only, planted(mixture.proxies(only)), 0))
    assert best.shares["verse"] > 0.9
    capped = dataclasses.replace(only, max_epochs=0.5)
    larger = mixture.verify(capped, planted(mixture.proxies(capped)))[0]
    epochs = larger.data.mixture.weights["verse"] * larger.n_tokens / mixture.unique_tokens(capped)["verse"]
    assert epochs == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    "override, words",
    [
        ('data.mixture={"temperature": 2}', "Settings.data.mixture: the mixtures are what the study varies"),
        ("n_checked=2", "n_checked=2 of n_mixtures=24"),
        ("target.libary=1", "Settings.target: libary is no domain of data.sources"),
        ("batch_tokens=100", "is not a multiple of seq_len"),
    ],
)
def test_settings_that_cannot_be_are_refused(override, words):
    with pytest.raises(ValueError, match=words):
        load_study("mixture", [override])


@pytest.mark.slow
def test_it_runs_through(settings, tmp_path):
    results, stage_of, planned = {}, {}, {}
    study = mixture.build(settings)
    table = functools.partial(read_table, results, stage_of, planned)
    for stage in study.stages:
        configs = stage.plan(table())
        if stage.before:
            stage.before(tmp_path, table(), configs)
        for config in configs:
            results[config.run_id] = train(config, tmp_path / "runs" / config.run_id, Hooks())
            stage_of[config.run_id] = stage.name
            planned[config.run_id] = planned_run(stage.name, config)
    words = study.finish(tmp_path, table())
    assert "rank correlation" in words and len(results) == 14 + 3 + 4
