"""The study of sparsity: its models, and what it concludes from losses of a known law."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.studies import load_study
from experiments.studies.pretraining import moe_sparsity
from experiments.studies.pretraining.moe_sparsity import Choice
from launch.driver.law_columns import law_columns
from models import count
from scaling.laws import find
from scaling.laws.law import values
from scaling.table.runs import Runs

TRUTH = (1.2, 60.0, 300.0, 0.4, 0.45, 0.3, 0.05, 0.02)
SETTINGS = moe_sparsity.Settings(n_bootstrap=30)


def rows(configs, stage: str) -> pd.DataFrame:
    """Finished runs of the law, at rates whose best one is 0.01 for dense models and 0.008 for others."""
    table = pd.DataFrame(
        law_columns([config.as_json for config in configs]) or {"expansion": [8], "granularity": [2]}
    )
    table["run_id"], table["stage"], table["status"] = [c.run_id for c in configs], stage, "done"
    counts = [count(config.model) for config in configs]
    table["n_params"], table["n_active"] = [c.n_params for c in counts], [c.n_active for c in counts]
    table["n_tokens"] = [config.n_steps * config.batch_tokens for config in configs]
    table["d_model"] = [config.model.d_model for config in configs]
    table["flops"] = 6.0 * table["n_active"] * table["n_tokens"]
    law = find("sparsity")
    table["loss"] = values(
        law, np.array([TRUTH]), {name: table[name].to_numpy(float) for name in law.columns}
    )[0]
    if stage == "tune":
        best = np.where(table["expansion"] == 1, 0.01, 0.008)
        table["loss"] *= 1 + 0.05 * np.log([config.optimizer.lr for config in configs] / best) ** 2
    return table


def test_a_token_meets_as_many_parameters_whatever_the_experts_but_for_the_router():
    models = [moe_sparsity.network(SETTINGS, 24, choice) for choice in SETTINGS.choices]
    dense, *others = map(count, models)
    for choice, model, counts in zip(SETTINGS.choices[1:], models[1:], others):
        router = model.n_layers * model.d_model * choice.expansion * choice.granularity
        assert counts.n_active == dense.n_active + router
        assert counts.n_params - counts.n_active == pytest.approx(
            (choice.expansion - 1) * 3 * model.d_model * model.d_ff * model.n_layers
        )


@pytest.mark.slow
def test_runs_of_a_known_law_give_the_worth_of_experts_and_the_best_number(tmp_path):
    tuned = rows(moe_sparsity.tune(SETTINGS), "tune")
    rates = moe_sparsity.rates(SETTINGS, Runs(tuned))
    assert rates == pytest.approx((0.01, 0.008), rel=0.01)
    trained = pd.concat([tuned, rows(moe_sparsity.grid(SETTINGS, rates), "grid")], ignore_index=True)
    config = moe_sparsity.larger(SETTINGS, rates)
    moe_sparsity.predict(SETTINGS, tmp_path, Runs(trained), config)
    whole = pd.concat([trained, rows([config], "larger")], ignore_index=True)
    said = moe_sparsity.finish(SETTINGS, tmp_path, Runs(whole))
    found = json.loads((tmp_path / "moe_sparsity.json").read_text())
    assert found["worth"]["coarse"][0] == pytest.approx(8**0.3, rel=0.02)
    assert found["worth"]["finer"][0] == pytest.approx(8 ** (0.05 * np.log(4)), rel=0.02)
    assert found["larger"]["measured"] == pytest.approx(found["larger"]["predicted"], rel=2e-3)
    assert found["larger"]["dense"] > found["larger"]["predicted"]
    free, tight = found["best"][:2]
    assert free["expansion"] >= tight["expansion"] and free["loss"] < tight["loss"]
    assert tight["n_total"] < free["n_total"] and tight["lo"] <= tight["expansion"] <= tight["hi"]
    assert "inside it" in said and (tmp_path / "sparsity.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ('choices=[{"expansion": 8, "granularity": 2}]', "first the dense model"),
        ("widths=[16]", "six sizes and lengths"),
    ],
)
def test_settings_that_say_nothing_are_refused(override, words):
    with pytest.raises(ValueError, match=words):
        load_study("moe_sparsity", [override])
    with pytest.raises(ValueError, match="expansion 1 is the dense model"):
        Choice(1, 2)
