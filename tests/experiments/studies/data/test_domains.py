"""The study of domains: on planted losses it finds the law, the break-even and what was forgotten."""

import dataclasses
import functools
import json

import numpy as np
import pandas as pd
import pytest

from experiments.data_configs import DataConfig, SourceConfig
from experiments.studies import load_study
from experiments.studies.data.domains import conclusions, laws, measures, study
from experiments.studies.data.domains.runs import (
    Settings,
    configure,
    general_models,
    ladder_runs,
    measured,
    verify_runs,
)
from experiments.training.train import train
from launch.driver.runs_table import read_table
from launch.driver.stages import planned_run
from models import count
from scaling.laws import find
from scaling.laws.law import values
from scaling.table.runs import Runs
from tests.mixed_run import make_mixed_cache
from tests.tiny_run import Hooks

SOURCES = tuple(SourceConfig(name) for name in ("code", "prose", "verse"))
TINY = Settings(
    data=DataConfig("mixture", sources=SOURCES),
    general="code",
    widths=(8, 16),
    general_tokens=640,
    domain_tokens=(80, 120, 160),
    verify_tokens=240,
    passes=4,
    lr=0.02,
    seq_len=8,
    batch_tokens=16,
    n_val_tokens=8 * 24,
    n_bootstrap=8,
)
LAW = (1.5, 3.0, 8.0, 0.3, 0.25, 1.0, 0.3, 0.4)  # of transfer
LADDER = dataclasses.replace(
    TINY, widths=(8, 16), general_tokens=100_000, domain_tokens=(4_000, 16_000, 64_000), verify_tokens=256_000
)


def planted(settings: Settings, configs) -> Runs:
    """Losses by a law of transfer, a fifth of a nat of general text forgotten, half of it where it is
    replayed; longer runs from scratch gain 0.4 above 100,000 tokens and lose as much below."""
    rng, rows = np.random.default_rng(0), []
    for config in configs:
        weights, cap = config.data.mixture.weights, config.data.mixture.unique_tokens
        row = {
            "run_id": config.run_id,
            "status": "done",
            "n_params": count(config.model).n_params,
            "flops": 1.0,
        }
        row |= {f"loss_{source.name}": 3.0 for source in settings.data.sources}
        for domain, unique in cap.items():
            x = {"n_params": row["n_params"], "unique_tokens": unique, "pretrained": float(bool(config.init))}
            loss = values(find("transfer"), np.array([LAW]), {name: np.array([v]) for name, v in x.items()})
            domain_tokens = config.n_tokens * (1 - weights.get(settings.general, 0.0))
            shift = 0.0
            if not config.init and domain_tokens > 1.05 * settings.passes * unique:
                shift = -0.4 if unique > 100_000 else 0.4
            row[f"loss_{domain}"] = float(loss[0, 0]) + shift + 1e-4 * rng.standard_normal()
        if config.init:
            row[f"loss_{settings.general}"] += 0.1 if settings.general in weights else 0.2
        rows.append(row)
    return Runs(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def table():
    """Of all runs, with planted losses."""
    parts = (*ladder_runs(LADDER), *verify_runs(LADDER))
    configs = [*general_models(LADDER).values(), *(configure(LADDER, part) for part in parts)]
    return measured(LADDER, planted(LADDER, configs))


def test_the_break_even_lies_between_the_sizes_where_the_better_one_changes(table):
    even = {(each["domain"], each["equal"]): each for each in measures.break_evens(LADDER, table)}
    for domain in ("prose", "verse"):
        assert even[domain, "tokens"]["beyond"] == "above"
        assert 64_000 < even[domain, "flops"]["at"] < 256_000
        assert "continuing is better below" in conclusions.break_even(even[domain, "flops"])
        assert "up to 256,000" in conclusions.break_even(even[domain, "tokens"])


def test_what_is_forgotten_is_counted_against_the_general_model_of_the_seed(table):
    rows = measures.forgetting(LADDER, table)
    lost = {(each["start"], each["replay"]): each["lost"] for each in rows}
    assert lost == pytest.approx({("continued", 0): 0.2, ("kept", 0): 0.2, ("continued", 0.25): 0.1})


def test_every_model_is_measured_on_every_text(table):
    rows = measures.loss_matrix(LADDER, table)
    models = ["from scratch", "continued", "optimizer kept", "25% replay"]
    assert len(rows) == 3 * (1 + 2 * len(models))
    loss = {(each["model"], each["text"]): each["loss"] for each in rows}
    assert loss["general", "code"] == 3.0 and loss["prose, 25% replay", "code"] == pytest.approx(3.1)
    assert loss["prose, continued", "prose"] < loss["prose, from scratch", "prose"] < loss["general", "prose"]


@pytest.mark.slow
def test_the_planted_law_predicts_more_data_and_what_a_token_is_worth(tmp_path):
    one = dataclasses.replace(LADDER, data=DataConfig("mixture", sources=SOURCES[:2]))
    ladder = [*general_models(one).values(), *(configure(one, part) for part in ladder_runs(one))]
    study.predict(one, tmp_path, planted(one, ladder))
    said = study.finish(
        one, tmp_path, planted(one, [*ladder, *(configure(one, part) for part in verify_runs(one))])
    )
    found = json.loads((tmp_path / "domains.json").read_text())
    for name in ("matrix", "losses", "transfer"):
        assert (tmp_path / f"domains_{name}.png").read_bytes()[:4] == b"\x89PNG"
    for at in found["transfer"][0]["at"]:
        worth = np.e * at["unique_tokens"] ** 0.3 * at["n_params"] ** 0.4
        assert at["transferred"]["value"] == pytest.approx(worth, rel=0.1)
    assert [each["start"] for each in found["verify"]] == ["scratch", "continued"]
    assert all(abs(each["error"]) < 0.005 for each in found["verify"])
    value = found["value"][0]
    scratch, continued = value["per_token"]["scratch"]["value"], value["per_token"]["continued"]["value"]
    assert scratch == pytest.approx(0.25 * 8 * 64_000**-1.25, rel=0.1)  # b B / D^(b+1)
    assert continued < scratch and "measured" in said
    # Ten per cent are nearly 6,400 such tokens.
    assert value["next"]["scratch"]["value"] == pytest.approx(6400 * scratch, rel=0.1)


@pytest.mark.parametrize(
    "gaps, expected",
    [
        ([1.0, -1.0, -2.0], 200.0),
        ([1.0, 0.5, 0.1], np.inf),
        ([-0.1, 1.0, 1.0], 0.0),
        ([3.0, 1.0, -1.0], 800.0),
    ],
)
def test_a_crossing_is_found_on_the_log_scale(gaps, expected):
    assert measures.crossing([100, 400, 1600], np.array(gaps)) == pytest.approx(expected)


def test_the_interval_of_a_break_even_holds_it_and_is_open_where_the_gap_may_stay():
    gaps_SK = np.array([[1.0, 0.5, -0.2], [1.1, 0.4, -0.1]])
    found = measures.break_even([100, 400, 1600], gaps_SK, TINY.level, TINY.seed)
    assert 400 < found["lo"] < found["at"] < 1600 and (found["hi"] is None or found["hi"] > found["at"])
    sure = measures.break_even(
        [100, 400, 1600], gaps_SK + np.array([[0], [-0.1]]) * 0 - [0, 0, 5], TINY.level, TINY.seed
    )
    assert sure["hi"] is not None and sure["beyond"] is None


def test_runs_of_equal_flops_cost_what_general_text_and_continuing_cost():
    parts = ladder_runs(TINY)
    longest = max(p.read_tokens for p in parts if p.start == "scratch" and p.unique_tokens == 160)
    assert longest == 4 * 160 + 640
    replayed = next(part for part in parts if part.replay)
    config = configure(TINY, replayed)
    assert config.n_tokens * 0.75 == pytest.approx(replayed.read_tokens, abs=1)
    assert config.data.mixture.weights == {replayed.domain: 0.75, "code": 0.25}
    kept = configure(TINY, next(part for part in parts if part.start == "kept"))
    assert kept.init.optimizer == "keep" and kept.init.source in {
        g.run_id for g in general_models(TINY).values()
    }


def test_without_the_public_corpora_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_PUBLIC_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"set ISOFLOP_PUBLIC_DATA to the folder .* data\.sources=") as error:
        load_study("domains", []).prepared()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override, words",
    [
        ("general=novels", "give the general text by the name 'novels'"),
        ("n_seeds=1", "n_seeds=1; intervals take two or more"),
        ("domain_tokens=[100,200]", "two or more of each and five pairs of them, tokens from small to large"),
        ("verify_tokens=10", "more tokens than all"),
        ("passes=20", "allowed are 1 to most_passes=16"),
        ("replay=[1.0]", "shares of general text lie between 0 and 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(override, words):
    with pytest.raises(ValueError, match=words):
        load_study("domains", [override])


@pytest.mark.slow
def test_it_runs_through(tmp_path, monkeypatch):
    root = tmp_path / "cache"
    monkeypatch.setenv("ISOFLOP_CACHE", str(root))
    fingerprint = make_mixed_cache(root)
    (root / "docstrings-mixed").rename(root / "mixture-mixed")
    data = DataConfig("mixture", sources=SOURCES[:2], fingerprint=fingerprint)
    settings = dataclasses.replace(TINY, data=data)
    results, stage_of, planned = {}, {}, {}
    built = study.build(settings)
    table = functools.partial(read_table, results, stage_of, planned)
    for stage in built.stages:
        configs = stage.plan(table())
        if stage.before:
            stage.before(tmp_path, table(), configs)
        for config in configs:
            results[config.run_id] = train(config, tmp_path / "runs" / config.run_id, Hooks())
            stage_of[config.run_id] = stage.name
            planned[config.run_id] = planned_run(stage.name, config)
    said = built.finish(tmp_path, table())
    assert "predicted" in said and len(measured(settings, table())) == len(results)
    assert laws.sizes_of(measured(settings, table()))[-1][0] == 16
