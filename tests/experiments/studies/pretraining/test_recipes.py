"""The study of recipes plans from the runs so far alone; here they come from a law and a planted gain."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from experiments.studies import load_study
from experiments.studies.pretraining import recipes
from experiments.studies.pretraining.recipes import Settings
from launch.cli import main
from models import count
from scaling.table.runs import Runs

GAIN = 1.5


def trained(stage: str, configs) -> pd.DataFrame:
    """The rows that training would give: muon's loss is adamw's at GAIN times the compute, and its best rate
    half as large."""
    rows = []
    for k, config in enumerate(configs):
        counts, n_tokens = count(config.model), config.n_steps * config.batch_tokens
        muon = config.optimizer.name == "muon"
        grown = np.sqrt(GAIN) if muon else 1.0
        best = (0.5 if muon else 1.0) * counts.n_params**-0.45
        loss = 1.1 + 200 * (counts.n_params * grown) ** -0.6 + 1500 * (n_tokens * grown) ** -0.6
        loss *= np.exp(0.03 * np.log(config.optimizer.lr / best) ** 2 + 5e-4 * (-1) ** k)
        rows.append(
            {
                "run_id": config.run_id,
                "stage": stage,
                "status": "done",
                "n_params": counts.n_params,
                "n_tokens": n_tokens,
                "flops": float(n_tokens * counts.flops_per_token(config.seq_len)),
                "loss": loss,
                "lr": config.optimizer.lr,
                "optimizer.name": config.optimizer.name,
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The study made on planted losses: (its folder, runs by stage, what it said)."""
    folder = tmp_path_factory.mktemp("recipes")
    study = recipes.build(Settings(n_bootstrap=50))
    table, plans = pd.DataFrame(), {}
    for stage in study.stages:
        plans[stage.name] = stage.plan(Runs(table))
        if stage.before:
            stage.before(folder, Runs(table), plans[stage.name])
            assert "measured_ratio" not in (folder / recipes.PREDICTION).read_text()
        table = pd.concat([table, trained(stage.name, plans[stage.name])], ignore_index=True)
    table.to_csv(folder / "runs.csv", index=False)
    return folder, plans, study.finish(folder, Runs(table))


def test_every_run_of_the_grid_has_a_partner_that_differs_in_optimizer_and_rate_alone(done):
    _, plans, _ = done
    for stage in ("grid", "verify"):
        half = len(plans[stage]) // 2
        for one, other in zip(plans[stage][:half], plans[stage][half:], strict=True):
            assert (one.optimizer.name, other.optimizer.name) == ("adamw", "muon")
            assert dataclasses.replace(other, optimizer=one.optimizer) == one
            assert other.optimizer.lr == pytest.approx(one.optimizer.lr / 2, rel=0.2)


def test_the_planted_gain_is_found_and_the_larger_pair_was_predicted(done):
    folder, _, said = done
    found = json.loads((folder / "recipes.json").read_text())["recipes"][0]
    assert found["method"] == "paired" and len(found["pairs"]) == 9
    assert found["largest"]["gain"] == pytest.approx(GAIN, rel=0.05) and found["largest"]["lo"] > 1.2
    prediction = json.loads((folder / recipes.PREDICTION).read_text())
    (pair,) = prediction["pairs"]
    assert prediction["flops"] == pytest.approx(8e11, rel=0.01)
    assert pair["ratio_lo"] < pair["measured_ratio"] < pair["ratio_hi"] < 1
    assert pair["measured_gain"] == pytest.approx(GAIN, rel=0.15)
    assert "muon is better than adamw" in said and "inside the interval" in said and "in doubt" in said
    assert (folder / "gain.png").exists()


def test_the_command_says_the_same_of_the_folder(done, capsys):
    folder, _, said = done
    assert main(["compare", str(folder), "--by", "optimizer=adamw,muon"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == said.splitlines()[0]


def test_optimizers_that_there_are_not_and_a_single_one_are_refused():
    for given, wrong in (('["adamw"]', "two different"), ('["adamw", "moun"]', "there are adamw, muon")):
        with pytest.raises(ValueError, match=wrong):
            load_study("recipes", [f"optimizers={given}"])
