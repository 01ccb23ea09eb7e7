"""study.json: what a folder says of its study, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.files import user_code
from launch.store import Store, study_file
from tests.launch.commands.studies.test_study import STUDY


def test_the_study_is_found_again_also_after_its_file_moved_but_only_if_it_is_named(tmp_path):
    store, file = Store(tmp_path / "x"), tmp_path / "mine.py"
    store.create()
    shutil.copy(STUDY, file)
    with user_code.of_one_command():
        user_code.run(str(file))
        study_file.write(store, str(file), ["seed=3"], None)
        assert study_file.load(store).settings.seed == 3
    with pytest.raises(ValueError, match=rf"runs only if you name it: add --code {file}"):
        study_file.load(store)
    with pytest.raises(ValueError, match=r"code of your own, .*: add --code .*/x/code/\w{12}/mine.py"):
        study_file.check_code(store)
    (tmp_path / "elsewhere").mkdir()
    with user_code.of_one_command():
        user_code.run(str(file.rename(tmp_path / "elsewhere" / "mine.py")))
        study_file.check_code(store)
        study_file.check_name(store, str(tmp_path / "elsewhere" / "mine.py"))
        assert study_file.load(store).settings.seed == 3


def test_an_equal_description_is_not_written_again(tmp_path):
    store = Store(tmp_path)
    study_file.write(store, "quickstart", ["seed=1"], None)
    before = (tmp_path / "study.json").stat().st_mtime_ns
    study_file.write(store, "quickstart", ["seed=1"], None)
    assert (tmp_path / "study.json").stat().st_mtime_ns == before
    assert {"python", "jax"} <= json.loads((tmp_path / "study.json").read_text())["versions"].keys()


def test_another_study_or_other_settings_are_reported(tmp_path):
    store = Store(tmp_path)
    study_file.check_name(store, "families")  # an empty folder takes any
    study_file.write(store, "quickstart", ["seed=1", "seed=2"], None)
    study_file.check_settings(store, ["seed=2"])
    with pytest.raises(ValueError, match="holds the study 'quickstart', not 'families'"):
        study_file.check_name(store, "families")
    with pytest.raises(ValueError, match="was begun with --set seed=1 --set seed=2; give the same"):
        study_file.check_settings(store, ["seed=1"])
    with pytest.raises(ValueError, match="no study here"):
        study_file.load(Store(tmp_path / "empty"))


def test_relative_paths_are_those_of_the_folder_where_the_study_was_planned(tmp_path, monkeypatch):
    (tmp_path / "planned" / "texts").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    store = Store(tmp_path / "x")
    store.create()
    monkeypatch.chdir(tmp_path / "planned")
    study_file.write(store, "quickstart", ["data.task=files", "data.path=texts"], None)
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"no text files among the 0 files there"):
        study_file.prepared(store)  # it is found, and has no text
    assert Path.cwd() == tmp_path / "elsewhere"
    with pytest.raises(ValueError, match=r"no such file or folder \(seen from .*elsewhere\)"):
        study_file.load(store).prepared()
