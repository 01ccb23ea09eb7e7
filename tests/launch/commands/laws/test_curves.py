"""`isoflop curves`: ends of runs half done and of schedules never trained, by laws of what runs recorded."""

import dataclasses
import json
import math
from types import SimpleNamespace

import pytest

from experiments.studies.pretraining.annealing import study
from experiments.studies.pretraining.annealing.curve_fit import Record
from launch import cli
from launch.commands.laws import curves
from launch.driver.stages import planned_run
from launch.store import Store
from tests.experiments.studies.pretraining.test_annealing import SETTINGS, recorded

UNSEEN = study.unseen(SETTINGS)
HALF = UNSEEN["twice as long"]


def store_of(folder, records, planned=()) -> Store:
    """A study whose runs have recorded this, and whose `planned` ones nothing."""
    store = Store(folder)
    store.create()
    store.plan.add([planned_run("branches", config) for config in (*(r.config for r in records), *planned)])
    for record in records:
        end = {"step": record.config.n_steps, "val_loss": record.final}
        lines = [*record.events, *([end] if record.final == record.final else [])]
        run = store.run_folder(record.config.run_id)
        run.mkdir(parents=True)
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return store


def test_half_a_run_and_a_schedule_never_trained_are_told_where_they_end(tmp_path, capsys):
    records = [recorded(config) for config in study.branches(SETTINGS)]
    store_of(tmp_path, [*records, recorded(HALF, until=0.5)], [UNSEEN["late decay"]])
    asked = [f"n_tokens={UNSEEN['cosine'].n_tokens}", "schedule.name=cosine", "schedule.decay=0.3"]
    words = ["curves", str(tmp_path), "--json", *[f"--set={each}" for each in asked]]
    assert cli.main(words) == 0
    said = json.loads(capsys.readouterr().out)
    *finished, half = said["runs"]
    assert [run["measured"] for run in finished] == [record.final for record in records]
    assert half["measured"] is None and half["step"] < 0.51 * half["n_steps"]
    for run, config in ((half, HALF), (said["asked"], UNSEEN["cosine"])):
        assert run["lo"] < run["predicted"] < run["hi"]
        assert run["predicted"] == pytest.approx(recorded(config).final, rel=0.01)
    assert len(said["off"][said["law"]]) == len(records)


@pytest.mark.parametrize(
    "n_steps, says", [(100, "ends at 2.5000"), (250, "2.5 times the longest record (100 steps)")]
)
def test_a_run_longer_than_all_records_is_said_to_be(n_steps, says):
    row = {"run_id": "a", "schedule": "cosine", "lr": 0.01, "step": 100, "n_steps": 100, "measured": 3.0}
    row |= {"predicted": 2.5, "lo": None, "hi": None}
    lines = curves.as_text({"law": SimpleNamespace(off=())}, [row], row | {"n_steps": n_steps}, 0.9)
    assert says in lines[-1]


def test_runs_of_several_models_are_refused_and_how_to_choose_is_said(tmp_path, capsys):
    (one, *_), (other, *_) = (
        study.branches(dataclasses.replace(SETTINGS, d_model=width)) for width in (8, 16)
    )
    store_of(tmp_path, [], [one, other])
    assert cli.main(["curves", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "these 2 runs differ in" in line and '--where "d_model == 8"' in line
    assert cli.main(["curves", str(tmp_path), "--where", "d_model == 8"]) == 2
    assert "none of 1 run has recorded" in capsys.readouterr().err


def test_a_run_that_has_only_just_begun_is_no_curve(tmp_path, capsys):
    store_of(tmp_path, [Record("", HALF, [{"step": 9, "train_loss": 5.0}], math.nan)])
    assert cli.main(["curves", str(tmp_path)]) == 2
    assert "no loss is recorded after 10% of the longest run's" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--level", "1"], "--level 1.0; it must be between 0 and 1"),
        (["--set", "schedule.nam=cosine"], "did you mean 'name'?"),
        (["--where", "d_model == 9"], "no run of a study of which 'd_model == 9' holds"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(words, says, tmp_path, capsys):
    store_of(tmp_path, [], study.branches(SETTINGS)[:1])
    assert cli.main(["curves", str(tmp_path), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
