"""The study of width and depth: shapes of equal size, and the best one by losses of a known curve."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.studies import load_study
from experiments.studies.pretraining import width_depth
from models import count
from scaling.table.runs import Runs

SETTINGS = width_depth.Settings()


def test_shapes_have_the_parameters_asked_for_in_their_blocks():
    for config in width_depth.plan(SETTINGS):
        parts = count(config.model).parts
        n_blocks = config.n_tokens / SETTINGS.tokens_a_parameter
        assert parts["attention"].n_params + parts["mlp"].n_params == pytest.approx(
            n_blocks, rel=width_depth.OFF
        )
        assert 1 < config.model.d_ff / config.model.d_model < 6


def test_the_best_shape_and_the_flat_part_are_those_of_the_curve(tmp_path):
    """Log loss 0.01 (log aspect - log 12)^2 above its lowest: within 1 % up to a factor of e."""
    rng, rows = np.random.default_rng(0), []
    for config in width_depth.plan(SETTINGS):
        model = config.model
        away = np.log(model.d_model / model.n_layers / 12)
        loss = 2.5 * np.exp(0.01 * away**2 + 0.0005 * rng.standard_normal())
        sizes = {"d_model": model.d_model, "n_layers": model.n_layers}
        rows.append({"run_id": config.run_id, "status": "done", "loss": loss} | sizes)
    said = width_depth.finish(SETTINGS, tmp_path, Runs(pd.DataFrame(rows)))
    for row in json.loads((tmp_path / "width_depth.json").read_text())["best"]:
        assert row["lo"] < 12 < row["hi"] and not row["at_edge"] and row["hi"] / row["lo"] < 2
        assert row["flat_from"] == pytest.approx(12 / np.e, rel=0.3)
        assert row["flat_to"] == pytest.approx(12 * np.e, rel=0.3)
    assert said.count("is best [") == 2 and (tmp_path / "width_depth.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("override", "words"), [("depths=[1,2]", "four or more"), ("n_blocks=[500]", "no model of 1 layers")]
)
def test_settings_that_say_nothing_are_refused(override, words):
    with pytest.raises(ValueError, match=words):
        load_study("width_depth", [override])
