"""What every study of STUDIES keeps to; a new one gets these tests for nothing."""

import json

import pandas as pd
import pytest

from experiments.fields import from_json, to_json
from experiments.studies import STUDIES, load_study, study_module
from scaling.table.runs import Runs

each_study = pytest.mark.parametrize("name", STUDIES)


@each_study
def test_its_first_line_says_what_it_is(name):
    """`isoflop list studies` prints it."""
    line = (study_module(name).__doc__ or "").split("\n")[0]
    assert line.endswith(".") and len(f'"""{line}') <= 110


@each_study
def test_settings_are_plain_data_and_unknown_ones_are_refused(name):
    study = load_study(name, ["seed=7"])
    assert study.name == name and study.settings.seed == 7 and study.summary
    assert from_json(type(study.settings), json.loads(json.dumps(to_json(study.settings)))) == study.settings
    with pytest.raises(ValueError, match="has no field 'no_such_setting'") as error:
        load_study(name, ["no_such_setting=1"])
    assert "\n" not in str(error.value)


@each_study
@pytest.mark.parametrize("override", ["level=2", "level=NaN", "n_bootstrap=0", "n_bootstrap=1000000000"])
def test_intervals_that_no_fit_gives_are_refused_before_anything_runs(name, override):
    if hasattr(load_study(name, []).settings, override.partition("=")[0]):
        with pytest.raises(ValueError, match=r"Settings\.(level|n_bootstrap)="):
            load_study(name, [override])


@each_study
def test_its_first_stage_plans_purely(name, tmp_path, monkeypatch):
    """Without a corpus, and the same however often: data are prepared by `Study.prepared`, not by a plan."""
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path))
    nothing = Runs(pd.DataFrame())
    stages = [load_study(name, []).stages[0] for _ in range(2)]
    plans = [[config.run_id for config in stage.plan(nothing)] for stage in (stages[0], *stages)]
    assert plans[0] and plans[0] == plans[1] == plans[2]
    assert len(set(plans[0])) == len(plans[0])
    assert not list(tmp_path.iterdir())


@each_study
def test_stages_have_names_of_their_own(name):
    names = [stage.name for stage in load_study(name, []).stages]
    assert names and len(set(names)) == len(names)
