"""Studies of post-training: later runs name earlier ones; what they conclude, from curves of known laws."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import models
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


# alpha, and its change with the logs of the reward model's size (of PPO none) and pairs; the same of beta.
PLANTED = {
    "best of n": (-0.1, 0.05, 0.02, 0.7, -0.03, -0.02),
    "PPO": (0.2, 0.02, 0.6, -0.02, -0.01),
}


def planted(settings, widths):
    """Curves of reward models of these widths, as the planted laws have them, with noise."""
    rng, tables = np.random.default_rng(0), []
    for width, n in over_optimisation.grid(settings, widths):
        model = over_optimisation.reward_model(settings, width, n).model
        for way, kl in (("best of n", np.linspace(0, 4, 8)), ("PPO", np.linspace(0, 9, 20))):
            columns = {"kl": kl} | {
                name: np.full(len(kl), float(value))
                for name, value in (("reward_params", models.count(model).n_params), ("n_pairs", n))
            }
            reward = values(find(over_optimisation.LAWS[way]), np.array([PLANTED[way]]), columns)[0]
            reward = reward + 0.01 * rng.standard_normal(len(kl))
            tables.append(pd.DataFrame(columns | {"reward": reward, "way": way, "run_id": f"{width} on {n}"}))
    return pd.concat(tables, ignore_index=True)


@pytest.mark.slow
def test_the_largest_reward_models_curves_are_predicted_before_they_are_measured(tmp_path, monkeypatch):
    settings = over_optimisation.Settings(n_bootstrap=20)
    nothing = pd.DataFrame({"kl": [0.0], "gold": [1.0]})
    monkeypatch.setattr(over_optimisation, "ppo_curves", lambda *_: nothing)
    monkeypatch.setattr(
        over_optimisation, "curves", lambda settings, folder, widths, *_: planted(settings, widths)
    )
    kl = np.array([0.5, 1.0, 4.0, 12.0])
    reward = np.sqrt(kl) * (0.4 - 0.3 * np.log(np.sqrt(kl)))
    about = {"beta": settings.betas, "kl": kl, "reward": reward, "way": "DPO"}
    dpo = pd.concat([pd.DataFrame(about).assign(n_pairs=n) for n in settings.n_pairs])
    monkeypatch.setattr(over_optimisation, "dpo_curve", lambda settings, folder: dpo)
    monkeypatch.setattr(over_optimisation, "errors", lambda *_: {"16": {"256": 0.3}})
    over_optimisation.predict(settings, tmp_path)
    said = json.loads((tmp_path / "prediction.json").read_text())
    largest = over_optimisation.reward_model(settings, settings.reward_widths[-1], 256)
    assert said["reward_params"] == models.count(largest.model).n_params and said["start"] == 1.0
    words = over_optimisation.finish(settings, tmp_path, Runs(pd.DataFrame()))
    assert "DPO, 256 pairs: best at β = 0.3, +0.400" in words
    assert "peak of its law +0.419 at √KL = 1.40" in words
    result = json.loads((tmp_path / "over_optimisation.json").read_text())
    inside = []
    for way in PLANTED:
        for n in settings.n_pairs:
            found = result[way][str(n)]
            inside.append(found["inside"])
            assert found["rms_error"] < 0.05
            predicted, measured = found["predicted"], found["measured"]
            assert predicted["peak_reward"] == pytest.approx(measured["peak_reward"], abs=0.06)
            assert predicted["peak_d"] == pytest.approx(measured["peak_d"], rel=0.2)
    assert np.mean(inside) >= 0.7
    assert (tmp_path / "over_optimisation.png").read_bytes().startswith(PNG)


def test_the_law_of_fine_tuning_predicts_the_largest_width(tmp_path, monkeypatch):
    settings = sft_data.Settings(n_bootstrap=20)
    table = pd.DataFrame(
        {"d_model": width, "n_params": 30.0 * width**2, "n_examples": float(n), "seed": seed, "gold": 1.0}
        for width in settings.widths
        for n in settings.n_examples
        for seed in range(2)
    )
    table["loss"] = 0.6 + 12 / table["n_params"] ** 0.2 / table["n_examples"] ** 0.15 + 0.002 * table["seed"]
    monkeypatch.setattr(
        sft_data, "lowest", lambda settings, folder, runs, widths: table[table["d_model"].isin(widths)]
    )
    sft_data.predict(settings, tmp_path, Runs(pd.DataFrame()))
    said = json.loads((tmp_path / "prediction.json").read_text())
    assert [row["n_examples"] for row in said["rows"]] == list(settings.n_examples)
    words = sft_data.finish(settings, tmp_path, Runs(pd.DataFrame()))
    result = json.loads((tmp_path / "sft_data.json").read_text())
    assert result["rms_error"] < 0.01 < result["rms_unchanged"] and len(result["largest"]) == 8
    assert "predicted before it was fine-tuned" in words
    assert (tmp_path / "sft_data.png").read_bytes().startswith(PNG)


def test_each_seed_and_width_is_fine_tuned_from_a_pretrained_model_of_its_own():
    settings = sft_data.Settings(n_seeds=2)
    starts = {
        (width, seed): c.init.source for width, _, seed, c in sft_data.fine_tuned(settings, settings.widths)
    }
    ids = [config.run_id for config in sft_data.pretrained_of_all(settings)]
    assert (
        len(set(ids)) == 8 and set(starts.values()) == set(ids) and len(set(starts.values())) == len(starts)
    )


def test_of_several_numbers_of_steps_that_of_the_lowest_loss_counts(tmp_path, monkeypatch):
    settings = sft_data.Settings(n_steps=(8, 16, 32), n_seeds=1)
    runs = [config for *_, config in sft_data.fine_tuned(settings, settings.widths)]
    losses = [abs(config.n_steps - 16) / 16 + 1 for config in runs]
    samples = dataclasses.make_dataclass("PolicySamples", ["gold"])(np.ones(4))
    monkeypatch.setattr(sft_data.measures, "sample_policy", lambda *_: samples)
    table = pd.DataFrame({"run_id": [config.run_id for config in runs], "loss": losses})
    best = sft_data.lowest(settings, tmp_path, Runs(table), settings.widths)
    assert set(best["n_steps"]) == {16} and len(best) == len(settings.widths) * len(settings.n_examples)


def rl_curves(monkeypatch, until):
    """Two recipes' curves of a sigmoid in the compute with ceiling 2, recorded up to some compute."""
    settings = rl_compute.Settings(advantages=("grpo", "rloo"), n_bootstrap=20)
    flops = np.geomspace(until / 1e3, until, 60)
    gold = 0.9 + (2.0 - 0.9) / (1 + (8e12 / flops) ** 1.2)
    noise = 0.005 * np.random.default_rng(0).standard_normal(60)
    curve = pd.DataFrame({"flops": flops, "kl": np.linspace(0, 5, 60), "gold": gold + noise})
    monkeypatch.setattr(rl_compute.measures, "reward_curve", lambda run: curve)
    samples = dataclasses.make_dataclass("PolicySamples", ["gold"])(np.full(4, 0.9))
    monkeypatch.setattr(rl_compute.measures, "sample_policy", lambda *_: samples)
    return settings


def test_the_beginning_of_a_curve_predicts_its_end(tmp_path, monkeypatch):
    settings = rl_curves(monkeypatch, until=1e14)
    words = rl_compute.finish(settings, tmp_path, Runs(pd.DataFrame()))
    result = json.loads((tmp_path / "rl_compute.json").read_text())
    assert set(result) == {"grpo", "rloo"}
    assert result["grpo"]["params"]["A"]["value"] == pytest.approx(2.0, abs=0.15)
    assert result["grpo"]["rms_error"] < 0.05 and result["grpo"]["ceiling_known"]
    assert "not known" not in words
    assert (tmp_path / "rl_compute.png").read_bytes().startswith(PNG)


def test_a_curve_that_has_not_bent_does_not_tell_its_ceiling(tmp_path, monkeypatch):
    settings = rl_curves(monkeypatch, until=2e12)
    assert "so it is not known" in rl_compute.finish(settings, tmp_path, Runs(pd.DataFrame()))


def test_the_law_of_reward_models_predicts_the_largest_width(tmp_path, monkeypatch):
    settings, planned = reward_model.Settings(n_bootstrap=20), {}
    for world, config in reward_model.plan(settings, settings.widths):
        worth = world.n_examples * (1 - 0.6 * world.noise) ** 2
        planned[config.run_id] = 0.02 + 3.0 / (30.0 * config.model.d_model**2) ** 0.4 + 2.0 / worth**0.4
    monkeypatch.setattr(reward_model, "label_noise", lambda world: 0.3 * world.noise)
    monkeypatch.setattr(reward_model.measures, "ranking_error", lambda run, *_: planned[run.name])
    reward_model.predict(settings, tmp_path)
    said = json.loads((tmp_path / "prediction.json").read_text())
    assert len(said["rows"]) == 12 and {row["n_params"] for row in said["rows"]} == {67968.0}
    words = reward_model.finish(settings, tmp_path, Runs(pd.DataFrame()))
    result = json.loads((tmp_path / "reward_model.json").read_text())
    assert result["rms_error"] < 0.02 and "predicted before it trained" in words
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
    assert "agreement, over steps: right 0.90 to 0.34. Inverse scaling" in words
    assert (tmp_path / "inverse_scaling.png").read_bytes().startswith(PNG)


def test_of_each_rank_the_best_learning_rate_counts(tmp_path):
    settings = lora_rank.Settings()
    rows = []
    for width, rank, config in lora_rank.fine_tuned(settings):
        loss = 1 + 1 / (rank or 32) + 1 / width + abs(config.optimizer.lr - 2e-2) + 0.1 * config.seed
        rows.append({"run_id": config.run_id, "loss": loss})
    words = lora_rank.finish(settings, tmp_path, Runs(pd.DataFrame(rows)))
    assert "16 wide: all 10,880 parameters 1.144" in words
    found = json.loads((tmp_path / "lora_rank.json").read_text())["rows"]
    assert len(found) == 16 and {row["lr"] for row in found} == {2e-2}
    of_rank_1 = [row["above_whole"] for row in found if row["rank"] == 1]
    assert of_rank_1 == pytest.approx([1 - 1 / 32] * 4)
    assert (tmp_path / "lora_rank.png").read_bytes().startswith(PNG)
