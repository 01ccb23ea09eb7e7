"""The study of consistency: exact measures by hand, planted differences, and a tiny study to its end."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.data_configs import BiographiesConfig
from experiments.studies.trust.consistency import figures, measures, summary
from experiments.studies.trust.consistency.study import study
from tests.tiny_run import isoflop


def test_exact_measures_by_hand():
    """Two tokens: of the first wording 3/4 and 1/4, of the others the reverse; the second token is right."""
    logits = np.log([[[0.75, 0.25]] + 4 * [[0.25, 0.75]]]).astype(np.float32)
    found = measures.at_temperature(logits, np.array([1]), 1.0)
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    expected = {"agreement": 10 / 16, "entropy": entropy, "flips": 0.25, "accuracy": 0.25, "slips": 6 / 16}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6)
    greedy = measures.at_temperature(logits, np.array([1]), 0.0)
    expected = {"agreement": 1, "entropy": 0, "flips": 0, "accuracy": 0, "held_out_wording": 0}
    assert all(greedy[name] == value for name, value in expected.items())
    cold = measures.at_temperature(logits, np.array([1]), 1e-3)
    assert all(cold[name] == pytest.approx(greedy[name], abs=1e-6) for name in measures.MEASURES)


def test_all_facts_are_asked_about_in_all_wordings():
    config = BiographiesConfig(n_people=6, exposures=(1, 4, 8))
    asked = measures.asked_of(config, 2)
    assert len(asked.table) == len(asked.wordings) == (6 + 2) * 5
    assert all(len(set(texts)) == 3 + measures.N_SLIPS for texts in asked.wordings)
    by_person = asked.table.groupby("person")["exposures"].first()
    assert sorted(by_person) == [0, 0, 1, 1, 4, 4, 8, 8]


def planted() -> pd.DataFrame:
    """Agreement falls with temperature and grows with exposures and width, by known amounts."""
    rows = []
    for width in (8, 16, 24):
        for seed in range(3):
            for temperature in (0.0, 0.5, 1.0):
                for exposures, questioned in ((0, False), (1, True), (4, True), (16, True)):
                    here = 0.5 + 0.02 * exposures - 0.2 * temperature + 0.01 * width + 0.001 * seed
                    row = {"d_model": width, "n_params": 100 * width, "seed": seed, "questioned": questioned}
                    row |= {"temperature": temperature, "exposures": exposures, "run_id": f"{width} {seed}"}
                    row |= dict.fromkeys(measures.MEASURES, here) | {"slips": here - 0.3 + 0.01 * seed}
                    row |= {
                        "nats": 1.0,
                        **{f"detection_{name}": 0.8 + 0.01 * seed for name in summary.DETECTORS},
                    }
                    rows.append(row)
    return pd.DataFrame(rows)


def test_differences_are_those_planted():
    found = summary.effects(planted(), 0.9)
    expected = {"hotter": -0.1, "known": 0.3, "unseen": 0.02, "larger": 0.16, "held_out": 0.0, "slips": -0.29}
    for name, value in expected.items():
        assert found[name]["mean"] == pytest.approx(value)
    assert found["slips"]["lo"] < -0.29 < found["slips"]["hi"] and found["slips"]["p"] < 1e-6
    found = summary.detection(planted(), 0.9)["24"]["exact"]
    assert found["lo"] < 0.81 < found["hi"] and found["p"] < 0.01


def test_settings_that_say_nothing_are_refused():
    for override, words in (
        ("widths=[16,24]", "three widths"),
        ("temperatures=[0.5]", "temperatures have 0 and 1"),
        ("data.biographies=null", "questions are about biographies"),
    ):
        with pytest.raises(ValueError, match=words):
            study([override])


def test_a_matrix_of_no_and_of_large_differences_is_drawn():
    row = {"axis": "batch", "cell": "4 at a time", "bits": 0.0, "max_abs": 0.0, "max_ulps": 0.0}
    row |= {"greedy_prompts": 0.0, "drawn_prompts": 0.0}
    other = row | {"cell": "16", "bits": 0.5, "max_abs": 1e-2, "drawn_prompts": 1.0}
    kept = row | {"axis": "cache", "cell": "kept", "bits": np.nan, "max_abs": np.nan}
    assert figures.matrix(pd.DataFrame([row, other, kept])).startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.usefixtures("prepares_here")
def test_a_tiny_study_runs_to_its_end(tmp_path):
    folder = tmp_path / "study"
    overrides = ("widths=[8,16,24]", "n_steps=20", "n_seeds=2", "n_bootstrap=20", "matrix_prompts=0")
    small = ("data.biographies.n_people=18", "data.biographies.exposures=[1,2,4]", "data.vocab_size=400")
    flags = [f"--set={override}" for override in (*overrides, *small, "n_unseen=4")]
    assert isoflop("study", "consistency", "--out", str(folder), "--workers=1", *flags) == 0
    assert (folder / "consistency.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((folder / "consistency.json").read_text())
    assert 0 < found["sampled"]["exact"] < 1 and len(found["orders"]) == 2
    assert len(json.loads((folder / "prediction.json").read_text())["rows"]["differ"]) == 3
    assert (pd.read_csv(folder / "runs.csv")["status"] == "done").all()
