"""`isoflop config`: every field of a run, planned or in a file; of two only what differs."""

import dataclasses
import json
import tomllib

import pytest

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import to_json
from experiments.studies.grid import cells_of, read_grid
from launch.driver.stages import planned_run
from launch.store import Store
from models import ladder
from tests.tiny_run import isoflop

ONE = RunConfig(ladder(16, 259), DataConfig(), OptimizerConfig(0.01), ScheduleConfig(), 512, 128, 10**6)
OTHER = dataclasses.replace(
    ONE, model=ladder(16, 259, "rwkv7"), optimizer=OptimizerConfig(0.02), data=DataConfig(by="lang")
)


@pytest.fixture
def runs(tmp_path):
    """A planned study of one run, and another run in a folder."""
    store = Store(tmp_path / "study")
    store.create()
    store.plan.add([planned_run("grid", ONE)])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(to_json(OTHER)))
    (tmp_path / "one.json").write_text(json.dumps(to_json(ONE)))
    return tmp_path


def test_what_is_shown_has_every_field_and_is_a_grid_of_that_run(runs, capsys):
    assert isoflop("config", "show", str(runs / "study"), ONE.run_id[:4]) == 0
    shown = capsys.readouterr().out
    assert {"optimizer.b2 = 0.98", 'data.by = ""', "# init = null"} <= set(shown.splitlines())
    base = {"base": tomllib.loads(shown), "vary": {"seed": [0]}}
    (cell,) = cells_of(read_grid("grid.json", json.dumps(base), [])).cells
    assert cell.config == ONE


def test_only_what_differs_is_listed(runs, capsys):
    assert isoflop("config", "diff", str(runs / "one.json"), str(runs / "run"), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["optimizer.lr"] == [0.01, 0.02] and found["data.by"] == ["", "lang"]
    assert found["model.family"] == ["transformer", "rwkv7"] and found["model.n_kv_heads"] == [2, "-"]
    assert not {"seed", "model.d_model", "data.task"} & set(found)
    assert isoflop("config", "diff", str(runs / "one.json"), str(runs / "one.json")) == 0
    assert capsys.readouterr().out == "the same configuration\n"


def test_what_is_no_run_is_refused(runs, capsys):
    for arguments, said in (
        (["show", str(runs)], "no run here; give its folder"),
        (["show", str(runs / "study"), "zz"], "no run begins so"),
        (["show", str(runs / "study")], "show takes one run"),
        (["diff", str(runs / "run")], "diff takes two runs"),
        (["list"], "expected show or diff"),
    ):
        assert isoflop("config", *arguments) == 2
        assert said in capsys.readouterr().err
