"""The study of precision: what it concludes from losses of a known law."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.studies import load_study
from experiments.studies.pretraining import precision
from models import count
from scaling.laws import find
from scaling.laws.law import values
from scaling.table.runs import Runs

TRUTH = (1.2, 60.0, 300.0, 0.4, 0.45, 2.5)
SETTINGS = precision.Settings(n_bootstrap=30)


def rows(configs, stage: str) -> pd.DataFrame:
    """Finished runs of the law."""
    table = pd.DataFrame({"run_id": [config.run_id for config in configs], "stage": stage, "status": "done"})
    table["n_params"] = [count(config.model).n_params for config in configs]
    table["n_tokens"] = [config.n_steps * config.batch_tokens for config in configs]
    table["weight_bits"] = [config.model.weight_bits for config in configs]
    table["d_model"] = [config.model.d_model for config in configs]
    table["flops"] = 6.0 * table["n_params"] * table["n_tokens"]
    law = find("precision")
    x = {name: table[name].to_numpy(float) for name in law.columns}
    return table.assign(loss=values(law, np.array([TRUTH]), x)[0])


@pytest.mark.slow
def test_runs_of_a_known_law_give_what_bits_count_as_and_predict_the_larger_run(tmp_path):
    configs, config = precision.grid(SETTINGS), precision.larger(SETTINGS)
    assert len({each.prefix_key for each in configs}) == 3 * 5  # runs of all lengths share their steps
    trained, last = rows(configs, "grid"), rows([config], "larger")
    precision.predict(SETTINGS, tmp_path, Runs(trained), config)
    said = precision.finish(SETTINGS, tmp_path, Runs(pd.concat([trained, last], ignore_index=True)))
    found = json.loads((tmp_path / "precision.json").read_text())
    for row in found["counts_as"]:
        assert row["share"] == pytest.approx(1 - np.exp(-row["weight_bits"] / 2.5), abs=0.01)
    assert found["larger"]["measured"] == pytest.approx(found["larger"]["predicted"], rel=1e-3)
    assert "inside it" in said and (tmp_path / "precision.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("override", "words"), [("bits=[4,32]", "three numbers"), ("bits=[1,4,32]", "2 to 32")]
)
def test_settings_that_say_nothing_are_refused(override, words):
    with pytest.raises(ValueError, match=words):
        load_study("precision", [override])
