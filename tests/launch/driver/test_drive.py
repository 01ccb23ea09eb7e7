"""The driver of a study while it waits for runs."""

import pytest

from experiments.studies import Stage, Study
from launch.driver import drive
from launch.monitor.display import Display
from launch.store import Store
from launch.workers.pool import WorkerPool
from tests.tiny_run import make_training_cache, training_config


def test_a_folder_that_is_moved_while_a_study_runs_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", make_training_cache(tmp_path / "cache"))
    store = Store(tmp_path / "study")
    store.create()
    stage = Stage("grid", lambda runs: [training_config()])
    study = Study("one", "", None, (stage,), finish=lambda *_: "")
    monkeypatch.setattr(drive.time, "sleep", lambda _: store.folder.rename(tmp_path / "elsewhere"))
    with pytest.raises(OSError, match="it was moved or removed while it was in use: put it back"):
        drive.drive(lambda: study, store, WorkerPool(store.folder), Display(), [], [])
