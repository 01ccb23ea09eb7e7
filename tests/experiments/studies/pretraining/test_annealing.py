"""The study of annealing: its branches share a trunk, and laws fitted to records know other schedules."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from experiments.studies.pretraining.annealing import study
from experiments.studies.pretraining.annealing.curve_fit import (
    Record,
    by_name,
    curve_table,
    end_columns,
    fit_curves,
    off_without,
    rates,
    read_records,
)
from experiments.training.metrics import log_steps
from scaling.laws import find
from scaling.laws.law import values
from scaling.table.runs import Runs

SETTINGS = study.Settings(d_model=8, starts=(300, 600, 1200), decays=(60, 240), warmup=30)
LAW, TRUTH = "annealing_curves", (1.5, 3.0, 0.3, 0.5, 0.02)


def recorded(config, until: float = 1.0, noise: float = 0.002) -> Record:
    """What a run of the law would have recorded; equal, with its noise, for steps that runs share."""
    ends = np.array(sorted(s for s in log_steps(config.n_steps) if s <= until * config.n_steps))
    bare = Record("", config, [{"step": int(s), "train_loss": 1.0} for s in ends], np.nan)
    table, learnt = curve_table(LAW, [bare]), np.cumsum(rates(config))
    draws = [np.random.default_rng(int(1e6 * learnt[s - 1])).normal() for s in table["step"]]
    loss = values(find(LAW), np.array([TRUTH]), by_name(table))[0] * np.exp(noise * np.array(draws))
    by_step = dict(zip(table["step"], loss))
    events = [{"step": int(s), "train_loss": float(by_step.get(s, 5.0))} for s in ends]
    end = values(find(LAW), np.array([TRUTH]), by_name(end_columns(LAW, config)))
    return Record(config.run_id, config, events, float(end[0, 0]) if until == 1 else np.nan)


def test_branches_share_their_trunk_and_the_cosine_cannot():
    configs = [*study.branches(SETTINGS), *study.unseen(SETTINGS).values()]
    keys = [config.prefix_key for config in configs if config.schedule.name == "wsd"]
    assert len(configs) == 15 and len(keys) == 14 and set(keys) == {keys[0]} != {""}
    assert len({config.run_id for config in configs}) == 15


def test_a_law_of_records_knows_unseen_schedules_and_unfinished_runs():
    records = [recorded(config) for config in study.branches(SETTINGS)]
    unseen = study.unseen(SETTINGS)
    found = fit_curves(LAW, [*records, recorded(unseen["twice as long"], until=0.5)])
    assert len(found.off) == len(records)
    for config in unseen.values():
        truth = recorded(config).final
        predicted, low, high = found.end(config)
        assert predicted == pytest.approx(truth, rel=0.01) and low < predicted < high


def test_a_run_says_nothing_of_how_far_the_law_is_off_without_it():
    records = [recorded(config) for config in study.branches(SETTINGS)]
    worse = [dataclasses.replace(records[0], final=1.5 * records[0].final), *records[1:]]
    table = curve_table(LAW, records)
    assert table["shared"].any() and not table[["run_id", "step", "training"]].duplicated().any()
    before, after = (off_without(find(LAW), curve_table(LAW, of), of, 1e-3) for of in (records, worse))
    assert after[0] - before[0] == pytest.approx(np.log(1.5), abs=1e-6)
    assert np.abs(after[1:] - before[1:]).max() > 1e-6


@pytest.mark.slow
def test_the_study_writes_down_before_and_compares(tmp_path):
    settings = dataclasses.replace(SETTINGS, starts=(300, 600), decays=(60, 240))
    for config in [*study.branches(settings), *study.unseen(settings).values()]:
        record, folder = recorded(config), tmp_path / "runs" / config.run_id
        folder.mkdir(parents=True)
        lines = [*record.events, {"step": config.n_steps, "val_loss": record.final}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    study.predict(settings, tmp_path, Runs(pd.DataFrame()))
    ends = read_records(tmp_path, study.unseen(settings).values())
    table = pd.DataFrame([{"run_id": record.run_id, "loss": record.final} for record in ends])
    said = study.finish(settings, tmp_path, Runs(table))
    assert "6 unseen schedules, predicted before" in said
    errors = pd.read_csv(tmp_path / "annealing.csv")["error"]
    assert len(errors) == 12 and errors.abs().median() < 0.01
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
