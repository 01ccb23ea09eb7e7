"""What the study of made-up answers concludes, from effects that are planted in its tables."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.config import RunConfig
from experiments.studies.trust.hallucination import asked, conclusions, fine_tuning, self_delusion, study
from experiments.studies.trust.hallucination.study import Settings
from scaling.laws import find
from scaling.laws.law import values
from scaling.table.runs import Runs

SETTINGS = Settings(n_seeds=3, n_bootstrap=20)
PLANTED = np.array([[0.95, 900.0, -0.4, 1.3]])
MEASURED = ("nats", "wrong", "invented", "stated")


def facts(folder, config: RunConfig) -> pd.DataFrame:
    """What `asked.facts` would say of a run that the law holds for, and that knows nobody else."""
    n_params, junk = 25.0 * config.model.d_model**2, config.data.mixture.weights.get("junk", 0.0)  # type: ignore
    exposures = np.array(asked.world_of(config).exposures, float)
    wrong = values(find("fact_error"), PLANTED, {"exposures": exposures, "n_params": np.full(5, n_params)})[0]
    rows = [("known", int(n), error + 0.01 * config.seed) for n, error in zip(exposures, wrong)]
    rows += [("junk", 1, 0.96), ("unseen", 0, 0.97)]
    about = {
        "run_id": config.run_id,
        "n_params": n_params,
        "seed": config.seed,
        "junk": junk,
        "attribute": "city",
    }
    return pd.DataFrame(
        dict(zip(MEASURED, (1.0, w, 0.9 * w, 1.0))) | {"kind": kind, "exposures": n, "n": 100} | about
        for kind, n, w in rows
    )


def snowballs(folder, config, n_samples):
    return {"seed": config.seed, "after_own": 0.8, "after_truth": 0.3 + 0.01 * config.seed, "alone": 0.5} | {
        "doubted": 0.7 + 0.01 * config.seed
    }


def taught(folder, starts, steps):
    """Known facts are lost by a fifth of the unknown ones that are fitted."""
    few = steps[0]
    rows = []
    for start in starts:
        for mix, share in (("64+128", 0.0), ("0+128", 0.5), ("0+1", 1.0)):
            for n in steps:
                fitted = 0.2 if n == few else 0.9
                accuracy = 1 - 0.2 * share * fitted - 0.001 * start.seed * share * fitted
                row = {"seed": start.seed, "mix": mix, "steps": n, "repaired": False, "share_unknown": share}
                row |= {
                    "fitted_unknown": fitted if share else np.nan,
                    "fitted_known": 0.9 - 0.01 * start.seed,
                }
                rows.append(row | {"accuracy": accuracy})
        rows.append(rows[-1] | {"steps": few, "repaired": True, "accuracy": 0.95 + 0.001 * start.seed})
    return pd.DataFrame(rows)


def believed(folder, starts, n_steps, n_samples):
    """Counterfactual data cure half of the delusion, marks restore what is told."""
    errors = {"facts": (1.0, 0.1), "counterfactual": (0.5, 0.5), "marked": (0.3, 0.1)}
    return pd.DataFrame(
        {"seed": start.seed, "way": way, "after_own": own + 0.01 * start.seed * own, "after_truth": 0.3}
        | {"of_told": told + 0.01 * start.seed * told, "alone": 0.6}
        for start in starts
        for way, (own, told) in errors.items()
    )


def test_planted_effects_are_found_and_the_larger_model_is_predicted(tmp_path, monkeypatch):
    monkeypatch.setattr(asked, "facts", facts)
    monkeypatch.setattr(asked, "snowballs", snowballs)
    monkeypatch.setattr(fine_tuning, "measured", taught)
    monkeypatch.setattr(self_delusion, "measured", believed)
    study.predict(SETTINGS, tmp_path)
    said = json.loads((tmp_path / "prediction.json").read_text())
    assert [row["exposures"] for row in said["rows"]] == [1, 4, 16, 64, 128]
    words = study.finish(SETTINGS, tmp_path, Runs(pd.DataFrame()))
    found = json.loads((tmp_path / "hallucination.json").read_text())
    assert found["larger"]["rms_error"] < 0.02
    effects = {row["effect"].split(":")[0]: row for row in found["effects"]}
    assert {row["verdict"] for row in effects.values()} == {"holds"}
    of_unknown = effects["slope of accuracy on known facts against Unknown ones fitted, of all taught"]
    assert of_unknown["value"] == pytest.approx(-0.201)
    behind = effects["error on what follows"]
    assert behind["value"] == pytest.approx(0.49) and behind["lo"] < 0.49 < behind["hi"]
    helped = effects["error behind the own wrong answer"]
    assert helped["value"] == pytest.approx(0.505)
    assert "the likeliest is wrong for 0.97 of them" in words and "Here it holds." in words
    for name in ("why", "after"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_errors_over_the_corpus_weigh_people_by_how_often_they_are_met():
    """Half of the biographies are about people met once; a fifth of the rest's errors is of the rarest."""
    config = study.configure(SETTINGS, 16, SETTINGS.n_tokens, 0.375, 0)
    table = facts(None, config)
    found = asked.over_the_corpus(table, SETTINGS.data.biographies, 0.6).iloc[0]
    weights = np.array([1, 4, 16, 64, 128]) / 213
    assert found["singletons"] == pytest.approx(0.5 + 0.5 / 213)
    assert found["wrong"] == pytest.approx(0.5 * weights @ table["wrong"].to_numpy()[:5] + 0.5 * 0.96)


def test_the_other_way_round_is_said_and_chance_is_not_shown():
    seeds = {"a": [0.5, 0.51, 0.49], "b": [-0.5, -0.51, -0.49], "c": [0.5, -0.4, 0.1]}
    verdicts = [
        conclusions.judged(k, "", 1, conclusions.over_seeds(v, 0.9))["verdict"] for k, v in seeds.items()
    ]
    assert verdicts == ["holds", "the other way", "not shown"]
    with pytest.raises(ValueError, match="one seed says nothing"):
        conclusions.over_seeds([1.0], 0.9)


def test_later_runs_start_from_earlier_ones():
    nothing, earlier = Runs(pd.DataFrame()), set()
    for stage in study.study([]).stages:
        configs = stage.plan(nothing)
        assert {config.init.source for config in configs if config.init} <= earlier
        earlier |= {config.run_id for config in configs}


@pytest.mark.parametrize(
    "override", ["widths=[16]", "n_seeds=1", "steps=[1,2,3]", "junk=[]", "data.biographies.regions=false"]
)
def test_settings_that_say_nothing_are_refused(override):
    with pytest.raises(ValueError, match="Settings"):
        study.study([override])
