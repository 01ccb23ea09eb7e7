"""The study of the batch size: its runs, and what it concludes from losses of a known law."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.studies import load_study
from experiments.studies.pretraining import batch_size
from models import count
from scaling.laws import find
from scaling.laws.law import values
from scaling.table.runs import Runs

TRUTH = (1.2, 60.0, 300.0, 0.4, 0.45, 2.0, 0.5)
SETTINGS = batch_size.Settings(n_bootstrap=30)


def rows(configs, stage: str) -> list[dict]:
    """Finished runs of the law, at rates whose best one grows as the root of the batch."""
    found = []
    for config in configs:
        sizes = {"n_params": count(config.model).n_params, "n_tokens": config.n_steps * config.batch_tokens}
        sizes |= {"batch_tokens": config.batch_tokens}
        x = {name: np.array([float(value)]) for name, value in sizes.items()}
        loss = values(find("batch"), np.array([TRUTH]), x)[0, 0]
        if stage == "tune":
            loss *= 1 + 0.05 * np.log(config.optimizer.lr / (0.006 * (config.batch_tokens / 256) ** 0.5)) ** 2
        about = {"run_id": config.run_id, "stage": stage, "status": "done", "lr": config.optimizer.lr}
        found.append(about | sizes | {"flops": 6.0 * sizes["n_params"] * sizes["n_tokens"], "loss": loss})
    return found


@pytest.mark.slow
def test_runs_of_a_known_law_give_its_critical_batch_and_predict_the_larger_run(tmp_path):
    tuned = rows(batch_size.tune(SETTINGS), "tune")
    rates = batch_size.rates(SETTINGS, Runs(pd.DataFrame(tuned)))
    assert rates[4096] / rates[256] == pytest.approx(4.0, rel=0.02)
    trained = tuned + rows(batch_size.runs(SETTINGS, rates), "runs")
    config = batch_size.larger(SETTINGS, rates)
    assert config.optimizer.lr == rates[config.batch_tokens]
    batch_size.predict(SETTINGS, tmp_path, Runs(pd.DataFrame(trained)), config)
    said = batch_size.finish(SETTINGS, tmp_path, Runs(pd.DataFrame(trained + rows([config], "larger"))))
    found = json.loads((tmp_path / "batch_size.json").read_text())
    assert found["law"]["params"]["kappa"] == pytest.approx(0.5, abs=0.01)
    assert found["larger"]["measured"] == pytest.approx(found["larger"]["predicted"], rel=1e-3)
    assert found["larger"]["in_small_batches"] < found["larger"]["predicted"]
    # Of losses interpolated between lengths, and read at the tokens of small batches.
    grown = found["growth"]["least_tokens"]
    assert grown["exponent"] == pytest.approx(0.5, abs=0.2)
    assert grown["coefficient"] * 2e5 ** grown["exponent"] == pytest.approx(2.0 * 2e5**0.5, rel=0.4)
    assert said.startswith("critical batch by the law of all runs: 1,024 tokens") and "inside it" in said
    for name in ("trade_off", "critical_batch"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("batches=[256,512]", "3 batches"),
        ("larger_batch=77", "rate is known for"),
        ("lengths=[65536]", "two lengths"),
    ],
)
def test_settings_that_say_nothing_are_refused(override, words):
    with pytest.raises(ValueError, match=words):
        load_study("batch_size", [override])
