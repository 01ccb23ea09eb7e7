"""The study's plan is a pure function of the runs; from planted runs it finds the planted optima."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from experiments.studies import load_study
from experiments.studies.lr_transfer import coordinate_check
from experiments.studies.lr_transfer import study as lr_transfer
from experiments.studies.lr_transfer.study import Settings
from experiments.training.train import train
from scaling.table.runs import Runs
from tests.tiny_run import make_cache


def trained(configs) -> pd.DataFrame:
    """Rows as training would give them: the best rate falls with width and depth, but not under muP."""
    rows = []
    for config in configs:
        model = config.model
        best = 0.012 if model.mup else 0.012 * (32 / model.d_model) * (2 / model.n_layers) ** 0.5
        best *= (config.n_tokens / (256 * 512)) ** -0.3 * (config.batch_tokens / 512) ** 0.5
        off = np.log(config.optimizer.lr / best)
        loss = 2.2 * (32 / model.d_model) ** 0.05 * np.exp(0.03 * off**2)
        diverged = not model.mup and config.optimizer.lr * model.d_model > 8
        rows.append({"run_id": config.run_id, "loss": np.inf if diverged else loss})
    return pd.DataFrame(rows)


def run_all(settings: Settings):
    """Plans and runs of both stages."""
    sweep = lr_transfer.sweep(settings)
    runs = Runs(trained(sweep))
    refine = lr_transfer.refine(settings, runs)
    return sweep, refine, Runs(pd.concat([runs.table, trained(refine)], ignore_index=True))


@pytest.fixture(scope="module")
def planted():
    return run_all(Settings())


def test_plan_holds_every_size_once_in_both_parametrisations(planted):
    sweep, refine, _ = planted
    assert len(sweep) == 2 * 9 * 5 and len(refine) == 2 * 9 * 4
    ids = [config.run_id for config in sweep + refine]
    assert len(set(ids)) == len(ids)
    assert ids == [config.run_id for plan in run_all(Settings())[:2] for config in plan]
    widths = {config.model.d_model for config in sweep if config.model.n_layers == 2}
    assert widths == {16, 32, 64, 128, 256} and {c.n_steps for c in sweep} == {256}
    base = [c.model for c in sweep if (c.model.d_model, c.model.n_layers) == (32, 2)]
    assert {dataclasses.replace(model, mup=None) for model in base} == {base[0]}


def test_rates_are_refined_around_the_best(planted):
    """The best rate of width 256 under standard, 0.0015, is nearest to 0.001 of the sweep."""
    _, refine, _ = planted
    rates = {}
    for config in refine:
        size = ("mup" if config.model.mup else "standard", config.model.d_model, config.model.n_layers)
        rates.setdefault(size, []).append(config.optimizer.lr)
    assert rates["standard", 256, 2] == [5e-4, 7.071e-4, 1.414e-3, 2e-3]
    assert rates["mup", 256, 2] == [8e-3, 1.131e-2, 2.263e-2, 3.2e-2]


@pytest.mark.parametrize(
    "best, new", [(0, [6.25e-5, 1.25e-4, 1.768e-4, 3.536e-4]), (-1, [4.525e-2, 9.051e-2, 0.128, 0.256])]
)
def test_rates_beyond_the_sweep_are_tried_where_the_best_lies_at_its_edge(best, new):
    settings = Settings(widths=(32,), depths=(2,))
    sweep = lr_transfer.sweep(settings)
    lr = settings.lrs[best]
    rows = [{"run_id": c.run_id, "loss": 2 + abs(np.log(c.optimizer.lr / lr))} for c in sweep]
    plan = lr_transfer.refine(settings, Runs(pd.DataFrame(rows)))
    assert [config.optimizer.lr for config in plan] == new * 2


def test_planted_optima_are_found_written_and_drawn(planted, monkeypatch, tmp_path):
    """Under standard the optimum moves ×16 over widths and ×4 over depths, under muP not at all."""
    monkeypatch.setattr(lr_transfer, "coordinate_table", planted_coordinates)
    words = lr_transfer.finish(Settings(), tmp_path, planted[2])
    written = json.loads((tmp_path / "transfer.json").read_text())
    moves = {(row["along"], row["parametrisation"]): row for row in written["moves"]}
    assert moves["width", "standard"]["moves"] == pytest.approx(16, rel=0.05)
    assert moves["depth", "standard"]["moves"] == pytest.approx(4, rel=0.05)
    for along in ("width", "depth"):
        assert moves[along, "mup"]["moves"] == pytest.approx(1, abs=0.02)
        assert moves[along, "mup"]["base_costs"] < 0.01 < moves[along, "standard"]["base_costs"]
    assert written["grows"]["width"]["standard"] == pytest.approx([16, 16])
    assert written["grows"]["width"]["mup"] == pytest.approx([1, 1])
    optima = pd.read_csv(tmp_path / "optima.csv")
    assert len(optima) == 20 and ((optima.lo < optima.lr) & (optima.lr < optima.hi)).all()
    wide = optima[(optima.d_model == 256) & (optima.parametrisation == "standard")]
    assert wide.lr.item() == pytest.approx(0.0015, rel=0.05)
    for name in ("sweeps", "optima", "coordinates"):
        content = (tmp_path / "figures" / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) > 20_000
    assert "over 16× width, standard: moves ×1" in words and "over 16× depth, mup     : moves ×1.0" in words


def test_with_tokens_and_batches_swept_one_law_covers_all_four():
    """Exponents of width and depth as planted under standard, none under muP, and the same of the others."""
    settings = Settings(widths=(16, 32, 128), depths=(2, 8), token_factors=(0.5, 4.0), batches=(128, 2048))
    sweep, refine, runs = run_all(settings)
    assert len(sweep) == 2 * (4 + 8 + 4) * 5  # sizes; tokens by batches; tokens at the widest and the deepest
    laws = lr_transfer.joint_laws(settings, lr_transfer.by_rate(runs, sweep + refine))
    for name, of_width, of_depth in (("standard", -1.0, -0.5), ("mup", 0.0, 0.0)):
        planted = {"d_model": of_width, "n_layers": of_depth, "n_tokens": -0.3, "batch_tokens": 0.5}
        found = {column: each.value for column, each in laws[name].exponents.items()}
        assert found == pytest.approx(planted, abs=0.05) and laws[name].interactions == {}


@pytest.mark.slow
def test_the_whole_study_runs(monkeypatch, tmp_path):
    """The base size only, a few steps each, on a tiny corpus."""
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path))
    fingerprint = make_cache(tmp_path / "docstrings-tiny")
    manifest = json.loads((tmp_path / "docstrings-tiny" / "manifest.json").read_text())
    manifest |= {"source": {}, "licence": ""}
    (tmp_path / "docstrings-tiny" / "manifest.json").write_text(json.dumps(manifest))
    numbers = {"n_steps": 3, "seq_len": 8, "batch_tokens": 32, "n_val_tokens": 64, "base_width": 8}
    numbers |= {"base_depth": 1, "widths": [8], "depths": [1], "lrs": [1e-3, 4e-3, 1.6e-2]}
    numbers |= {"checked_widths": [8], "checked_depths": [1], "checked_steps": 2}
    numbers |= {"token_factors": [2.0], "batches": [64]}
    overrides = [f"{name}={json.dumps(value)}" for name, value in numbers.items()]
    overrides.append(f"data.fingerprint={fingerprint}")
    study, rows = load_study("lr_transfer", overrides), pd.DataFrame()
    for stage in study.stages:
        configs = stage.plan(Runs(rows))
        done = [train(config, tmp_path / config.run_id, Hooks()) for config in configs]
        rows = pd.concat([rows, pd.DataFrame(done)], ignore_index=True)
    words = study.finish(tmp_path, Runs(rows))
    assert len(rows) == 2 * 7 * 4 and (rows.status == "done").all()
    # Both parametrisations are one at the base size.
    optima = pd.read_csv(tmp_path / "optima.csv")
    assert len(optima) == 4 and len(set(optima.loss)) == 1
    assert words.startswith("best learning rate of adamw") and "activations change" in words
    joint = json.loads((tmp_path / "transfer.json").read_text())["joint"]
    assert joint["mup"]["exponents"] == joint["standard"]["exponents"] and "mup: lr over n_tokens" in words


class Hooks:
    """A run that nobody stops."""

    def should_stop(self) -> bool:
        return False

    def lost(self) -> bool:
        return False

    def progress(self, *_) -> None: ...


def planted_coordinates(settings: Settings) -> pd.DataFrame:
    """Changes that grow with size under standard."""
    return pd.DataFrame(
        {"along": along, "parametrisation": name, "size": size, "after": place, "change": change}
        for along, sizes in (("width", settings.checked_widths), ("depth", settings.checked_depths))
        for name in lr_transfer.PARAMETRISATIONS
        for size in sizes
        for place, change in zip(
            coordinate_check.PLACES,
            np.geomspace(0.1, 0.4, 4) * (size / sizes[0] if name == "standard" else 1),
        )
    )


@pytest.mark.parametrize(
    "override, message",
    [
        ("optimizer.name=sgd", "there are adamw, muon, lion"),
        ("base_width=24", "is none of"),
        ("lrs=[1e-3,1e-2]", "three at least"),
        ("checked_widths=[30]", "multiples of 8"),
        ("family=lstm", "no ladder"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(override, message):
    with pytest.raises(ValueError, match=message):
        load_study("lr_transfer", [override])


def test_settings_reach_every_run():
    study = load_study("lr_transfer", ["optimizer.name=muon", "optimizer.b1=0.95", "seed=3", "n_steps=7"])
    for config in lr_transfer.sweep(study.settings):
        assert (config.optimizer.name, config.optimizer.b1, config.seed, config.n_steps) == (
            "muon",
            0.95,
            3,
            7,
        )
