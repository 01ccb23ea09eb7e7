"""What every backend of launch.backends.BACKENDS must do; a new one is tested by its line there."""

import subprocess
import sys

import pytest

from launch.backends import BACKENDS, load_backend
from launch.backends.interface import Backend, Submission
from launch.store import PlannedRun, Store

FUNCTIONS = [name for name in vars(Backend) if not name.startswith("_")]


def submission(folder, dry_run: bool = True, n_workers: int | None = 2) -> Submission:
    """Three runs, with a site file for any backend."""
    store = Store(folder / "study")
    store.create()
    runs = [PlannedRun(f"{k:012x}", "grid", "s", 256, 100, 1e9, {}) for k in range(3)]
    store.plan.add(runs)
    site = {"slurm": {}, "kubernetes": {"image": "i", "claim": "c", "here": str(folder)}}
    return Submission(store, runs, True, n_workers, "auto", site, dry_run)


@pytest.mark.parametrize("name", BACKENDS)
def test_it_has_every_function_with_a_docstring(name):
    assert all(getattr(load_backend(name), function).__doc__ for function in FUNCTIONS)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_dry_run_shows_what_would_be_done_and_touches_nothing(name, tmp_path, monkeypatch):
    asked = submission(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no scheduler's command is needed
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    shown = load_backend(name).submit(asked)
    assert shown and shown == load_backend(name).submit(asked)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert asked.store.jobs() == []


@pytest.mark.parametrize("name", BACKENDS)
def test_a_study_of_which_it_knows_nothing_has_no_logs_and_owes_no_explanation(name, tmp_path):
    store = submission(tmp_path).store
    owner = {"host": "elsewhere", "pid": 1, "start": 0}
    assert load_backend(name).logs(store) == [] and load_backend(name).log_of_process(store, owner) is None


def test_none_is_loaded_before_it_is_asked_for():
    code = "import sys; import launch.backends, launch.commands.studies.status\n"
    code += (
        f"print([name for name in {[*BACKENDS.values(), 'jax', 'pandas', 'yaml']} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
