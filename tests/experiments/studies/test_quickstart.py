"""The default study's stages are pure functions of the runs so far; here the runs come from a planted law."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import scaling
from experiments.data_configs import DataConfig
from experiments.studies import load_study
from experiments.studies.budgets import GridBudget
from experiments.studies.quickstart import outcome
from experiments.studies.quickstart import study as quickstart
from experiments.studies.quickstart.study import Settings
from launch.arguments.tables_and_fits import read_fit
from models import count
from scaling.table.runs import Runs

BEST_LR = 1.0  # lr* = BEST_LR * N^-0.45


def loss(n_params: float, n_tokens: float, lr: float) -> float:
    """A planted law with a parabola in log lr."""
    off = np.log(lr / (BEST_LR * n_params**-0.45))
    return (1.1 + 200 * n_params**-0.6 + 1500 * n_tokens**-0.6) * np.exp(0.03 * off**2)


def trained(stage: str, configs) -> pd.DataFrame:
    """The rows that training these configurations would give."""
    rows = []
    for config in configs:
        counts, n_tokens = count(config.model), config.n_steps * config.batch_tokens
        rows.append(
            {
                "run_id": config.run_id,
                "stage": stage,
                "status": "done",
                "n_params": counts.n_params,
                "n_tokens": n_tokens,
                "flops": float(n_tokens * counts.flops_per_token(config.seq_len)),
                "loss": loss(counts.n_params, n_tokens, config.optimizer.lr)
                * (1 + 0.004 * (config.seed > 0)),
                "lr": config.optimizer.lr,
                "seed": config.seed,
                "batch_tokens": config.batch_tokens,
                "d_model": config.model.d_model,
            }
        )
    return pd.DataFrame(rows)


def flops(config) -> float:
    return config.n_steps * config.batch_tokens * count(config.model).flops_per_token(config.seq_len)


def stages(settings: Settings) -> tuple[Runs, dict]:
    """All stages planned one after the other from the planted law."""
    plans = {"tune": quickstart.tune(settings)}
    runs = Runs(trained("tune", plans["tune"]))
    for name in ("refine", "grid", "extend", "verify"):
        plans[name] = getattr(quickstart, name)(settings, runs)
        if name != "verify" and plans[name]:
            runs = Runs(pd.concat([runs.table, trained(name, plans[name])], ignore_index=True))
    return runs, plans


def test_stages_find_what_was_planted(tmp_path):
    settings = Settings(n_bootstrap=50)
    runs, plans = stages(settings)
    assert (
        len(plans["tune"]) == 10
        and len(plans["refine"]) == 3
        and len(plans["grid"]) == sum(len(b.d_models) for b in settings.grid)
    )
    for config in plans["grid"]:
        best = BEST_LR * count(config.model).n_params ** -0.45
        assert config.optimizer.lr == pytest.approx(best, rel=0.15)
    for budget in settings.grid:
        rows = runs.table[
            (runs.table.stage == "grid") & np.isclose(runs.table.flops, budget.flops, rtol=0.02)
        ]
        assert len(rows) == len(budget.d_models)
    (config,) = plans["verify"]
    assert config.n_steps * config.batch_tokens * count(config.model).flops_per_token(128) == pytest.approx(
        8 * max(budget.flops for budget in settings.grid), rel=0.01
    )
    quickstart.predict(settings, tmp_path, runs, config)
    verification = json.loads((tmp_path / "verify.json").read_text())
    truth = loss(verification["n_params"], verification["n_tokens"], config.optimizer.lr)
    assert verification["run_id"] == config.run_id and "measured" not in verification
    assert verification["predicted"] == pytest.approx(truth, rel=0.015)
    assert verification["lo"] < truth < verification["hi"]
    assert json.loads((tmp_path / "fit.json").read_text())["n_points"] == len(plans["grid"]) + len(
        plans["extend"]
    )
    assert len(json.loads((tmp_path / "lr.json").read_text())["optima"]) == 3

    all_runs = Runs(pd.concat([runs.table, trained("verify", plans["verify"])], ignore_index=True))
    said = outcome.outcome(tmp_path, all_runs).splitlines()
    assert said[2].startswith("runs repeated under another seed end 0.28% apart")  # 0.4 % / √2
    further = read_fit(tmp_path / "further.json")
    assert further.n_points == read_fit(tmp_path).n_points + 1
    best = scaling.frontier(further, 10 * verification["flops"])
    assert said[-1].startswith("fitted again with this run (further.json), the law expects")
    assert f"{best.loss:.4f} ± {(best.loss_hi - best.loss_lo) / 2:.4f} at {best.flops:.2e} FLOPs" in said[-1]
    assert best.loss == pytest.approx(
        loss(best.n_params, best.n_tokens, BEST_LR * best.n_params**-0.45), rel=0.02
    )
    (tmp_path / "verify.json").unlink()
    with pytest.raises(ValueError, match=r"no .*verify\.json, .*restore it, or begin the study again"):
        outcome.outcome(tmp_path, all_runs)


def test_runs_that_tell_most_are_repeated_and_the_run_to_come_is_as_wide_as_its_budget_asks_for():
    settings = Settings()
    runs, plans = stages(settings)
    grid = {dataclasses.replace(config, seed=1000): flops(config) for config in plans["grid"]}
    again = [config for config in plans["extend"] if config.seed]
    assert len(again) > 3 and set(again) <= set(grid)
    spent = sum(grid[config] for config in again)
    assert 0.15 < spent / sum(grid.values()) <= 0.3
    assert max(grid[config] for config in again) == pytest.approx(7.2e11, rel=0.02)  # nearest to that run
    assert not [config for config in quickstart.extend(Settings(again=0), runs) if config.seed]
    (far,) = quickstart.verify(Settings(verify_factor=1e4), runs)
    assert far.model.d_model > 4 * 64
    assert 0.5 < far.n_tokens**0.6 / (1500 / 200 * count(far.model).n_params ** 0.6) < 2  # as planted


def test_a_run_that_reads_its_text_more_often_than_those_before_it_is_in_doubt():
    tokens = np.array([1e6, 2e6, 3e6])
    runs = Runs(pd.DataFrame({"n_tokens": tokens, "epochs": tokens / 2e6}))
    assert outcome.read_again(runs, 9e6).startswith("the run reads its text 4.5 times, the runs before it")
    assert "it 1.5 times at most" in outcome.read_again(runs, 9e6)
    assert outcome.read_again(runs, 3.5e6) == ""  # twice costs next to nothing
    often = Runs(pd.DataFrame({"n_tokens": tokens, "epochs": 5 * tokens / 2e6}))
    assert outcome.read_again(often, 2.5e6) == ""  # the law has seen as much
    assert outcome.read_again(Runs(runs.table.drop(columns="epochs")), 9e6) == ""


def test_with_batches_tried_every_later_run_has_the_batch_of_their_law():
    """The planted best batch is 512 tokens at 4e5 tokens of training, and grows as their root."""
    settings = Settings(batches=(256, 1024))
    swept = trained("tune", quickstart.tune(settings))
    assert set(swept.batch_tokens) == {256, 512, 1024} and len(swept) == 30
    off = np.log(swept.batch_tokens / (512 * np.sqrt(swept.n_tokens / 4e5)))
    configs = quickstart.grid(settings, Runs(swept.assign(loss=swept.loss * np.exp(0.03 * off**2))))
    for config in configs:
        best = 512 * np.sqrt(config.n_tokens / 4e5)
        assert abs(np.log2(config.batch_tokens / best)) < 0.75  # to a power of two
    assert len({config.batch_tokens for config in configs}) > 1


def test_a_grid_too_small_for_its_law_is_warned_of_before_anything_trains():
    small = Settings(grid=(GridBudget(1e11, (16, 24, 32, 40, 48)), GridBudget(2e11, (16, 24, 32, 40, 48))))
    (note,) = quickstart.build(small).notes
    assert note == "the prediction will be in doubt: a grid of 10 runs for 5 parameters, 2 budgets of compute"
    assert quickstart.build(Settings()).notes == ()


def test_plans_are_the_same_however_often_they_are_made():
    settings = Settings()
    first, again = stages(settings)[1], stages(settings)[1]
    assert [c.run_id for plan in first.values() for c in plan] == [
        c.run_id for p in again.values() for c in p
    ]


@pytest.mark.parametrize(
    "d_models, new", [((16, 24), (8,)), ((48, 56, 64), (40, 32)), ((16, 24, 32), (48, 64))]
)
def test_a_minimum_at_the_edge_extends_the_grid_there(d_models, new):
    """At 8e11 FLOPs the planted law is best near width 40, at 1e10 near 8."""
    flops = 1e10 if new == (8,) else 8e11
    inside = Settings().grid[2]
    d_models = (*d_models, 32) if new == (8,) else d_models
    settings = Settings(grid=(inside, GridBudget(flops, d_models)))
    extended = stages(settings)[1]["extend"]
    assert tuple(config.model.d_model for config in extended if not config.seed) == new


def test_seeds_and_data_reach_every_run():
    settings = load_study("quickstart", ["seed=3", "data.task=files", "data.path=novels"]).settings
    assert settings.data == DataConfig(task="files", path="novels")
    configs = quickstart.tune(settings)
    assert {(config.seed, config.data.path) for config in configs} == {(3, "novels")}


@pytest.mark.parametrize(
    "name, overrides, message",
    [
        ("quickstrat", [], "did you mean 'quickstart'"),
        ("quickstart", ["sed=1"], "did you mean 'seed'"),
        ("missing.py", [], "no Python file"),
        ("quickstart", ["lrs=[-1,1,2]"], "must be positive"),
        ("quickstart", ["seq_len=-4"], "at least 1"),
        ("quickstart", ["verify_factor=0.5"], "larger than 1"),
        ("quickstart", ["verify_factor=Infinity"], "finite"),
        ("quickstart", ['grid=[{"flops":1e11,"d_models":[16,20,24]}]'], "multiples of 8"),
        ("quickstart", ['tune=[{"flops":10,"d_model":16}]'], "at least 1"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(name, overrides, message):
    with pytest.raises(ValueError, match=message) as error:
        load_study(name, overrides)
    assert "\n" not in str(error.value)


def test_the_study_grows_to_models_of_a_billion_parameters():
    """Precision, recomputation, optimizer and schedule reach every run; edges and candidates grow with the
    widths, which must be on the ladder."""
    budgets = [(3e17, (256, 384, 512)), (1e18, (384, 512, 640)), (5e18, (512, 640, 768))]
    overrides = [
        *(
            "dtype=bfloat16",
            "remat=true",
            "micro_batches=4",
            "optimizer.b2=0.95",
            "schedule.warmup_tokens=1e7",
        ),
        *("batch_tokens=262144", "seq_len=2048", "lrs=[1e-3,2e-3,4e-3]"),
        'tune=[{"d_model":256,"flops":1e17},{"d_model":384,"flops":2e17}]',
        f"grid={json.dumps([{'flops': flops, 'd_models': widths} for flops, widths in budgets])}",
    ]
    settings = load_study("quickstart", overrides).settings
    plans = stages(settings)[1]
    configs = [config for plan in plans.values() for config in plan]
    assert {(c.model.dtype, c.model.remat, c.micro_batches, c.optimizer.b2) for c in configs} == {
        ("bfloat16", True, 4, 0.95)
    }
    assert {c.schedule.warmup_tokens for c in configs} == {10_000_000}
    assert [c.model.d_model for c in plans["extend"] if not c.seed][:2] == [768, 1024]
    assert plans["verify"][0].model.d_model > 768
    with pytest.raises(ValueError, match="set the lrs"):
        load_study("quickstart", ["optimizer.lr=0.01"])
