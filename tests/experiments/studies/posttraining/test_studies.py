"""Studies of post-training: later runs name earlier ones; what they conclude, from curves of known laws."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from experiments.studies.posttraining import (
    inverse_scaling,
    lora_rank,
    over_optimisation,
    reward_model,
    rl_compute,
    sft_data,
)
from scaling.laws import find
from scaling.laws.law import values
from scaling.table.runs import Runs

STUDIES = (over_optimisation, sft_data, rl_compute, reward_model, lora_rank, inverse_scaling)
PNG = b"\x89PNG"


@pytest.mark.parametrize("module", STUDIES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_what_a_run_starts_from_was_planned_by_an_earlier_stage(module):
    nothing, earlier = Runs(pd.DataFrame()), set()
    for stage in module.study([]).stages:
        configs = stage.plan(nothing)
        sources = {config.init.source for config in configs if config.init}
        sources |= {getattr(config.objective, "reward", "gold") for config in configs} - {"gold"}
        assert sources <= earlier
        earlier |= {config.run_id for config in configs}


@pytest.mark.parametrize(
    ("module", "override", "words"),
    [
        (over_optimisation, "reward_widths=[16,24]", "a law is fitted to all but the last"),
        (over_optimisation, "betas=[1.0]", "a law is fitted to them"),
        (sft_data, "widths=[16]", "three widths"),
        (rl_compute, 'advantages=["ppo"]', "there are grpo, dr_grpo, rloo"),
        (rl_compute, "known=1.5", "between 0 and 1"),
        (reward_model, "n_pairs=[256]", "three n_pairs"),
        (lora_rank, "ranks=[]", "one or more of widths, ranks and lrs"),
        (inverse_scaling, "steps=[8,16]", "4 or more of widths and of steps"),
    ],
)
def test_settings_that_say_nothing_are_refused(module, override, words):
    with pytest.raises(ValueError, match=words):
        module.study([override])


# alpha and beta of planted over-optimisation, each with its change with the log of the reward model's size.
PLANTED = {"best of n": (0.1, 0.05, 0.6, -0.03), "PPO": (-0.1, 0.05, 0.5, -0.02)}


def planted(settings, which):
    """Curves of reward models of these sizes, as the planted laws have them, with noise."""
    rng, tables = np.random.default_rng(0), []
    for k in which:
        size = float(over_optimisation.reward_params(settings, k))
        for way, kl in (("best of n", np.linspace(0, 4, 8)), ("PPO", np.linspace(0, 30, 20))):
            columns = {"kl": kl, "reward_params": np.full(len(kl), size)}
            reward = values(find(over_optimisation.LAWS[way]), np.array([PLANTED[way]]), columns)[0]
            reward = reward + 0.01 * rng.standard_normal(len(kl))
            tables.append(pd.DataFrame(columns | {"reward": reward, "way": way}))
    return pd.concat(tables, ignore_index=True)


@pytest.mark.slow
def test_the_largest_reward_models_curve_is_predicted_before_it_is_measured(tmp_path, monkeypatch):
    settings = over_optimisation.Settings(n_bootstrap=20)
    monkeypatch.setattr(over_optimisation, "curves", lambda settings, folder, which: planted(settings, which))
    dpo = {"beta": [1.0, 0.3, 0.1], "kl": [1.0, 4.0, 12.0], "reward": [0.4, 0.5, 0.3], "way": "DPO"}
    monkeypatch.setattr(over_optimisation, "dpo_curve", lambda settings, folder: pd.DataFrame(dpo))
    over_optimisation.predict(settings, tmp_path)
    said = json.loads((tmp_path / "prediction.json").read_text())
    assert said["reward_params"] == over_optimisation.reward_params(settings, 3)
    models = over_optimisation.reward_models(settings)
    runs = Runs(pd.DataFrame({"run_id": config.run_id, "gold_accuracy": 0.7} for config in models))
    words = over_optimisation.finish(settings, tmp_path, runs)
    assert "DPO over β: peak +0.4" in words
    result = json.loads((tmp_path / "over_optimisation.json").read_text())
    for way in PLANTED:
        assert result[way]["rms_error"] < 0.05
        predicted, measured = result[way]["predicted"], result[way]["measured"]
        assert predicted["peak_reward"] == pytest.approx(measured["peak_reward"], abs=0.06)
        assert predicted["peak_d"] == pytest.approx(measured["peak_d"], rel=0.2)
        assert result[way]["inside"] >= 0.7
    assert (tmp_path / "over_optimisation.png").read_bytes().startswith(PNG)


def test_the_law_of_fine_tuning_predicts_the_largest_width(tmp_path, monkeypatch):
    settings = sft_data.Settings()
    table = pd.DataFrame(
        {"d_model": width, "n_params": 30.0 * width**2, "n_examples": float(n), "n_steps": 64, "gold": 1.0}
        for width in settings.widths
        for n in settings.n_examples
    )
    table["loss"] = 0.6 + 12 / table["n_params"] ** 0.2 / table["n_examples"] ** 0.15
    monkeypatch.setattr(sft_data, "lowest", lambda *_: table)
    words = sft_data.finish(settings, tmp_path, Runs(pd.DataFrame()))
    result = json.loads((tmp_path / "sft_data.json").read_text())
    assert result["rms_error"] < 0.01 and len(result["largest"]) == 4
    assert "predicted" in words and (tmp_path / "sft_data.png").read_bytes().startswith(PNG)


def test_of_several_numbers_of_steps_that_of_the_lowest_loss_counts(tmp_path, monkeypatch):
    settings = sft_data.Settings(n_steps=(8, 16, 32))
    runs = [config for *_, config in sft_data.fine_tuned(settings)]
    losses = [abs(config.n_steps - 16) / 16 + 1 for config in runs]
    samples = dataclasses.make_dataclass("Samples", ["gold"])(np.ones(4))
    monkeypatch.setattr(sft_data.measures, "sample_policy", lambda *_: samples)
    table = pd.DataFrame({"run_id": [config.run_id for config in runs], "loss": losses})
    best = sft_data.lowest(settings, tmp_path, Runs(table))
    assert set(best["n_steps"]) == {16} and len(best) == len(settings.widths) * len(settings.n_examples)


def test_the_beginning_of_a_curve_predicts_its_end(tmp_path, monkeypatch):
    settings = rl_compute.Settings(advantages=("grpo", "rloo"))
    flops = np.geomspace(1e11, 1e14, 60)
    gold = 0.9 + (2.0 - 0.9) / (1 + (8e12 / flops) ** 1.2)
    noise = 0.005 * np.random.default_rng(0).standard_normal(60)
    curve = pd.DataFrame({"flops": flops, "kl": np.linspace(0, 5, 60), "gold": gold + noise})
    curve.loc[0, "gold"] = 0.9
    monkeypatch.setattr(rl_compute.measures, "reward_curve", lambda run: curve)
    rl_compute.finish(settings, tmp_path, Runs(pd.DataFrame()))
    result = json.loads((tmp_path / "rl_compute.json").read_text())
    assert set(result) == {"grpo", "rloo"}
    assert result["grpo"]["A"] == pytest.approx(2.0, abs=0.15) and result["grpo"]["rms_error"] < 0.05
    assert (tmp_path / "rl_compute.png").read_bytes().startswith(PNG)


def test_the_law_of_reward_models_predicts_the_largest_width(tmp_path, monkeypatch):
    settings = reward_model.Settings()
    monkeypatch.setattr(reward_model, "label_noise", lambda world: 0.3 * world.noise)
    rows = []
    for world, config in reward_model.plan(settings):
        worth = world.n_examples * (1 - 0.6 * world.noise) ** 2
        error = 0.05 + 3.0 / (30.0 * config.model.d_model**2) ** 0.4 + 2.0 / worth**0.4
        rows.append({"run_id": config.run_id, "gold_accuracy": 1 - error})
    words = reward_model.finish(settings, tmp_path, Runs(pd.DataFrame(rows)))
    assert json.loads((tmp_path / "reward_model.json").read_text())["rms_error"] < 0.02
    assert "to which it was not fitted" in words
    assert (tmp_path / "reward_model.png").read_bytes().startswith(PNG)


def test_the_noise_of_labels_is_the_share_that_the_true_reward_contradicts():
    world = dataclasses.replace(reward_model.Settings().gold, n_examples=512)
    shares = [reward_model.label_noise(dataclasses.replace(world, noise=noise)) for noise in (0.0, 0.5, 50.0)]
    assert shares[0] == 0 < shares[1] < 0.4 < shares[2] < 0.6


def test_a_behaviour_that_gets_worse_is_inverse_scaling(tmp_path, monkeypatch):
    settings = inverse_scaling.Settings()

    def probe(run, world, kind, n):
        config = by_id[run.name]
        steps = config.n_steps if config in preferred else 0
        right = 0.9 - 0.08 * np.log2(steps + 1) if kind == "agreement" else 0.5 + 0.04 * np.log2(steps + 1)
        return {"right": right, "se": 0.01, "accuracy": right}

    policies = [inverse_scaling.policy(settings, width) for width in settings.widths]
    preferred = inverse_scaling.preferred(settings)
    by_id = {config.run_id: config for config in (*policies, *preferred)}
    monkeypatch.setattr(inverse_scaling.measures, "probe", probe)
    words = inverse_scaling.finish(settings, tmp_path, Runs(pd.DataFrame()))
    trends = json.loads((tmp_path / "trends.json").read_text())["trends"]
    kinds = {(one["behaviour"], one["over"]): one["kind"] for one in trends}
    assert kinds["agreement", "steps"] == "inverse" and kinds["opinion", "steps"] == "improves"
    assert kinds["opinion", "sizes"] == "undecided"
    assert "agreement, over steps: Inverse scaling" in words
    assert (tmp_path / "inverse_scaling.png").read_bytes().startswith(PNG)


def test_of_each_rank_the_best_learning_rate_counts(tmp_path):
    settings = lora_rank.Settings()
    rows = []
    for width, rank, config in lora_rank.fine_tuned(settings):
        loss = 1 + 1 / (rank or 32) + 1 / width + abs(config.optimizer.lr - 2e-2)
        rows.append({"run_id": config.run_id, "loss": loss})
    words = lora_rank.finish(settings, tmp_path, Runs(pd.DataFrame(rows)))
    assert "16 wide: all parameters 1.094; rank 1 2.062" in words
    found = json.loads((tmp_path / "lora_rank.json").read_text())["rows"]
    assert len(found) == 12 and {row["lr"] for row in found} == {2e-2}
    assert (tmp_path / "lora_rank.png").read_bytes().startswith(PNG)
