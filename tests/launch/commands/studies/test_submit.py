"""plan --out and submit: again changes nothing, another definition is told, failed runs hold the next stage.

A backend that notes what it is asked stands for Slurm and Kubernetes; here: test_local.py.
"""

import json
import sys
from pathlib import Path

import pytest

from launch import cli
from launch.backends import BACKENDS
from launch.backends.interface import Submission
from launch.store import PlannedRun, Store
from tests.launch.commands.studies.test_study import STUDY


class Backend:
    """Notes what it is asked."""

    def __init__(self):
        self.requests: list[Submission] = []
        self.cancelled: list[list[dict]] = []

    def submit(self, submission: Submission) -> str:
        self.requests.append(submission)
        submission.store.record_job({"backend": "slurm", "id": "7", "kind": "workers", "slots": 2})
        return "submitted"

    def cancel(self, jobs: list[dict]) -> str:
        self.cancelled.append(jobs)
        return "cancelled 7"

    def states(self, jobs: list[dict]) -> list[str]:
        return [f"job {job['id']}: PENDING" for job in jobs]


@pytest.fixture
def backend(monkeypatch) -> Backend:
    backend = Backend()
    monkeypatch.setitem(sys.modules, BACKENDS["slurm"], backend)
    return backend


def isoflop(*arguments) -> int:
    own = ["--code", STUDY] if arguments[0] == "submit" else []
    return cli.main([str(argument) for argument in (*arguments, *own)])


@pytest.fixture
def folder(tmp_path, capsys) -> Path:
    """A planned study."""
    assert isoflop("plan", STUDY, "--out", tmp_path / "x", "--nomemory") == 0
    assert "x: 7 runs added" in capsys.readouterr().out
    return tmp_path / "x"


def row(run: PlannedRun) -> dict:
    """A result of the run."""
    lr = run.config["optimizer"]["lr"]
    return {
        **{"status": "done", "loss": lr, "lr": lr, "n_params": run.n_params, "flops": run.flops},
        **{"flops_per_second": 1e9, "data": {"task": "none", "tokenizer": {}}, "conventions": {}},
        **{"versions": {}, "device": "none"},
    }


def finish(store: Store, run_id: str) -> None:
    assert store.finish(store.claim(run_id), row(store.plan.runs()[run_id]))


def finish_all(store: Store) -> None:
    for run_id, state in store.states().items():
        if state == "planned":
            finish(store, run_id)


def test_planning_again_changes_nothing(folder, capsys):
    store = Store(folder)
    finish(store, next(iter(store.plan.runs())))
    lock = folder / "store" / "driver.lock"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path != lock}
    assert isoflop("plan", STUDY, "--out", folder, "--nomemory") == 0
    assert "x: no new runs" in capsys.readouterr().out
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path != lock}
    assert after == before


def test_another_definition_adds_runs_and_sets_others_aside(folder, capsys):
    store = Store(folder)
    a, b, *_ = store.plan.runs()
    finish(store, a)
    assert isoflop("plan", STUDY, "--out", folder, "--set", "n_steps=50", "--nomemory") == 0
    said = capsys.readouterr().out
    assert "7 runs added" in said and "7 runs no longer in the study, set aside: " in said and b in said
    states = list(store.states().values())
    assert states == ["cancelled"] * 7 + ["planned"] * 7
    assert json.loads((folder / "study.json").read_text())["overrides"] == ["n_steps=50"]
    assert isoflop("status", folder) == 0 and "7 runs of the cancelled set aside" in capsys.readouterr().out
    assert isoflop("plan", STUDY, "--out", folder, "--nomemory") == 0  # and back again
    assert list(store.states().values()) == ["done"] + ["planned"] * 6 + ["cancelled"] * 7
    assert isoflop("plan", "quickstart", "--out", folder) == 2
    assert "holds the study 'fake_study.py'" in capsys.readouterr().err


def test_a_backend_gets_the_unfinished_runs_and_the_site_file(folder, backend, tmp_path, capsys, monkeypatch):
    site = tmp_path / "site.toml"
    site.write_text('[slurm]\npartition = "gpu"\n[cost]\nper_hour = 2\ncurrency = "EUR"\n')
    store = Store(folder)
    finish(store, next(iter(store.plan.runs())))
    monkeypatch.chdir(tmp_path)
    arguments = ["submit", "x", "--on", "slurm", "--site", site, "--workers", 3, "--pack", "4"]
    assert isoflop(*arguments) == 0 and capsys.readouterr().out == "submitted\n"
    (submission,) = backend.requests
    assert submission.store.folder == folder and len(submission.unfinished) == 6 and submission.more_stages
    assert (submission.n_workers, submission.pack, submission.dry_run) == (3, "4", False)
    assert submission.site["slurm"] == {"partition": "gpu"}
    assert isoflop("status", folder, "--scheduler") == 0
    assert "job 7: PENDING" in capsys.readouterr().out
    assert json.loads((folder / "store" / "prices.json").read_text())["currency"] == "EUR"


def test_the_next_stage_is_planned_by_the_next_submission_and_the_last_one_finishes(folder, backend, capsys):
    store = Store(folder)
    finish_all(store)
    assert isoflop("submit", folder, "--on", "slurm") == 0
    (submission,) = backend.requests
    assert [run.stage for run in submission.unfinished] == ["verify"] and not submission.more_stages
    assert json.loads((folder / "verify.json").read_text())["predicted"] == 2.1  # before it trains
    finish_all(store)
    assert isoflop("submit", folder, "--on", "slurm") == 0 and len(backend.requests) == 1
    assert "predicted 2.1, measured" in capsys.readouterr().out and store.finished.exists()
    assert isoflop("submit", folder, "--on", "slurm") == 0
    assert "predicted 2.1, measured" in capsys.readouterr().out


def test_failed_runs_hold_the_next_stage_until_they_are_tried_again(folder, backend, capsys):
    store = Store(folder, backoff=0.0)
    unlucky, *others = store.plan.runs()
    for _ in range(store.max_attempts):
        store.fail(store.claim(unlucky), "ValueError: no luck")
    store.cancel(others[-1:])
    finish_all(store)
    assert isoflop("submit", folder, "--on", "slurm") == 1 and not backend.requests
    said = capsys.readouterr().err
    assert "1 run failed and 1 run cancelled" in said and f"{unlucky}: ValueError: no luck" in said
    assert isoflop("retry", folder, unlucky[:8]) == 0
    assert "1 run may be trained again" in capsys.readouterr().out
    assert store.states()[unlucky] == "planned" and store.states()[others[-1]] == "cancelled"
    assert isoflop("retry", folder) == 0
    assert isoflop("submit", folder, "--on", "slurm") == 0
    assert {run.run_id for run in backend.requests[0].unfinished} == {unlucky, others[-1]}


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--pack", "0"], "--pack=0; it is auto or the number"),
        (["--pack", "many"], "--pack=many"),
        (["--site", "nowhere.toml"], "nowhere.toml: No such file"),
        (["--on", "moon"], "moon"),
        (["--workers", "-1"], "--workers=-1"),
    ],
)
def test_wrong_input_is_one_line(folder, arguments, said, capsys):
    assert isoflop("submit", folder, *arguments) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_site_file_with_wrong_prices_or_syntax_is_refused(folder, backend, tmp_path, capsys):
    site = tmp_path / "site.toml"
    for text, said in (("[cost]\nper_houre = 2\n", "per_houre"), ("[cost\n", "not a TOML file")):
        site.write_text(text)
        assert isoflop("submit", folder, "--on", "slurm", "--site", site) == 2 and not backend.requests
        assert said in capsys.readouterr().err
