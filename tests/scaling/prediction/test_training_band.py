"""A run in training in its band: good ones stay, bad ones leave it, and early."""

import json

import numpy as np
import pytest

from scaling.prediction.collapse import Collapse, collapse
from scaling.prediction.run_curves import FRACTIONS
from scaling.prediction.study_curves import StudyRun, band_of, by_recipe, recipe_of
from scaling.prediction.training_band import final_loss, training_band
from tests.scaling.prediction.recorded_runs import grid, lines, recorded

LARGE = (2.5e5, 4e6)  # N and D of eight times the largest budget


@pytest.fixture(scope="module")
def recipe() -> Collapse:
    return collapse(grid(2, "lr"))


def test_good_runs_of_eight_times_the_compute_stay_inside(recipe):
    band = training_band(recipe, *LARGE)
    runs = [recorded(*LARGE, seed) for seed in range(100, 120)]
    assert sum(bool(band.warning(run)) for run in runs) <= 2
    low, high = band.loss.interval(0.9)
    inside = [(low <= np.exp(run.loss)) & (np.exp(run.loss) <= high) for run in runs]
    assert np.mean(inside) > 0.9 and np.all(high / low < 1.5)


def test_a_bad_run_leaves_before_a_third_of_it_is_paid_for(recipe):
    band = training_band(recipe, *LARGE)
    early = [recorded(*LARGE, seed, "lr", until=0.3) for seed in range(100, 120)]
    assert sum("training loss" in band.warning(run) for run in early) >= 18
    late = [recorded(*LARGE, seed, "late", until=1.0) for seed in range(100, 110)]
    assert all(band.warning(run) for run in late)


def test_a_gradient_that_explodes_is_told(recipe):
    band, run = training_band(recipe, *LARGE), recorded(*LARGE, 0, until=0.5)
    run.grad_norm[3] += 3
    assert band.warning(run).startswith("gradient norm")


def test_a_prediction_made_before_narrows_the_band_and_moves_it(recipe):
    own, given = training_band(recipe, *LARGE), training_band(recipe, *LARGE, (1.8, 1.79, 1.81, 0.9))
    assert np.all(given.loss.expected.spread < own.loss.expected.spread)
    assert given.state(recorded(*LARGE, 0, until=0.01), 0.9) == "final loss expected 1.800 (1.790 to 1.810)"
    moved = given.loss.expected.mean - own.loss.expected.mean
    assert np.allclose(moved, np.log(1.8) - own.final.mean)


def test_the_final_loss_is_chinchilla_s():
    place = np.log(np.random.default_rng(0).uniform([1e5, 1e6], [1e6, 1e8], (20, 2)))
    loss = lambda x: 1.0 + 20 * np.exp(-0.3 * x[..., 0]) + 50 * np.exp(-0.4 * x[..., 1])  # noqa: E731
    found = final_loss(place, loss(place), at := np.log([3e6, 3e8]))
    assert found.mean == pytest.approx(np.log(loss(at)), abs=0.01)
    assert found.spread > 0.01  # further than a decade from what was seen


def test_a_study_s_folder_has_the_band_of_its_run(tmp_path):
    config = {
        "model": {"family": "transformer"},
        "data": {"task": "t"},
        "schedule": {"name": "wsd"},
        "seq_len": 8,
    }
    runs = []
    for k, curve in enumerate([*grid(2), recorded(*LARGE, 7, "lr")]):
        events, final = lines(curve.n_params, curve.n_tokens, 2000 + k, "lr" if k == 16 else "")
        folder = tmp_path / "runs" / str(k)
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events) + '{"cut')
        each = config | {"optimizer": {"name": "adamw", "lr": 0.01 / (1 + k)}, "seed": k}
        runs.append(StudyRun(str(k), each, curve.n_params, curve.n_tokens, final))
    verify = {"run_id": "16", "predicted": 1.8, "lo": 1.7, "hi": 1.9, "level": 0.9}
    (tmp_path / "verify.json").write_text(json.dumps(verify))
    *small, large = by_recipe(runs)[recipe_of(runs[0].config)]
    curve, band = band_of(tmp_path, large, small)
    assert np.exp(band.final.mean) == pytest.approx(1.8) and band.n_runs >= 14
    assert "training loss" in band.warning(curve)
    rows = band.table(curve, 0.9)
    assert len(rows) == 2 * len(FRACTIONS) and {row["quantity"] for row in rows} == {
        "training loss",
        "gradient norm",
    }


def test_a_recipe_is_all_but_size_length_rate_batch_and_seed():
    run = {"optimizer": {"name": "adamw", "lr": 1.0}, "data": {}, "schedule": {"decay": 0.3}, "seed": 0}
    same = run | {"optimizer": {"name": "adamw", "lr": 2.0}, "seed": 1, "n_tokens": 5, "batch_tokens": 9}
    assert recipe_of(run) == recipe_of(same)
    assert recipe_of(run) != recipe_of(run | {"schedule": {"decay": 0.2}})
    assert recipe_of(run | {"objective": {"kind": "sft"}}) == recipe_of({"config": "of another kind"}) == ""
