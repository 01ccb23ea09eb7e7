"""`isoflop status`: what is shown of a study in the middle of things, as text and as JSON."""

import json
from dataclasses import replace

import pytest

from launch import cli
from launch.commands.studies import status
from launch.commands.studies.status import ERRORS_SHOWN, RUNNING_SHOWN, as_json, as_lines, open_study
from launch.monitor import prices
from launch.monitor.progress import FAILURES_SHOWN, Failure, read_progress
from launch.store import STATES, PlannedRun, Store


def planned(k: int, stage: str = "grid") -> PlannedRun:
    return PlannedRun(f"{k:012x}", stage, "s", 1000, 5000, 3.6e12, {"optimizer": {"lr": 0.01}})


def finish(store: Store, run_id: str) -> None:
    store.finish(store.claim(run_id), {"status": "done", "loss": 2.0, "flops_per_second": 1e9})


def fail(store: Store, run_id: str, error: str, times: int = 3) -> None:
    for _ in range(times):
        store.fail(store.claim(run_id), error)


def train(store: Store, run_id: str, step: int = 50) -> None:
    seen = {"step": step, "n_steps": 100, "tokens_per_second": 1000, "loss": 2.5}
    store.report_progress(store.claim(run_id), seen)


@pytest.fixture
def store(tmp_path) -> Store:
    """Of two tune and six grid runs, of an hour each: two done, one running, two failed, one dropped."""
    store = Store(tmp_path, backoff=0.0)
    store.create()
    store.plan.add([planned(k, "tune" if k < 2 else "grid") for k in range(8)])
    a, b, c, d, e, *_, last = store.plan.runs()
    finish(store, a)
    finish(store, b)
    train(store, c)
    fail(store, d, "ValueError: no")
    fail(store, e, "ValueError: no")
    store.plan.keep_only({*store.plan.runs()} - {last})
    store.plan.note_waiting(["verify"])
    return store


def shown(store: Store) -> list[str]:
    return as_lines(store, read_progress(store))


def test_a_study_in_the_middle_of_things_is_shown_whole(store):
    d = list(store.plan.runs())[3]
    assert shown(store) == [
        f"{store.folder}: not finished",
        "  stage    planned   claimed   running      done  diverged    failed cancelled",
        "  tune           0         0         0         2         0         0         0",
        "  grid           2         0         1         0         0         2         1",
        "  verify  is planned when the runs before it are done",
        "1 run of the cancelled set aside: no longer in the study",
        "1 running on 1 worker, 1k tokens/s",
        "  000000  N 1k  D 5k  lr 0.01  ██████████░░░░░░░░░░ 50/100  1k tokens/s  loss 2.500",
        "time left about 2 h 30 min; spent about 2.5 worker-hours; left about 2.5 worker-hours",
        f"{d} and 1 run more failed after 3 attempts: ValueError: no",
        f"  log: {store.folder}/runs/{d}/log.txt",
        f"`isoflop retry {store.folder}` gives failed runs their attempts back",
    ]


def test_of_many_failures_at_least_those_read_are_counted(store):
    failures = [Failure(f"r{i}", "ValueError: no", 3, "failed") for i in range(FAILURES_SHOWN)]
    lines = as_lines(store, replace(read_progress(store), failures=failures))
    assert any(line.startswith(f"r0 and at least {FAILURES_SHOWN - 1} runs more failed") for line in lines)


def test_work_has_its_price_where_there_are_prices(store):
    prices.note(store, {"per_hour": 2, "currency": "EUR"})
    said = "spent about 2.5 worker-hours, 5 EUR; left about 2.5 worker-hours, 5 EUR"
    assert any(line.endswith(said) for line in shown(store))


def test_json_holds_the_same(store, capsys):
    d = list(store.plan.runs())[3]
    assert cli.main(["status", str(store.folder), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed == as_json(store, read_progress(store)) | {"scheduler": []}
    assert printed["counts"] == dict.fromkeys(STATES, 0) | {
        **{"planned": 2, "running": 1, "done": 2, "failed": 2, "cancelled": 1}
    }
    assert (
        printed["stages"]["tune"]["done"] == 2
        and printed["waiting"] == ["verify"]
        and not printed["finished"]
    )
    assert printed["worker_seconds"] == {"spent": 9000, "left": 9000} and printed["seconds_left"] == 9000
    (running,) = printed["running"]
    assert (running["stage"], running["step"], running["loss"]) == ("grid", 50, 2.5)
    assert printed["failures"][0] == {
        **{"run_id": d, "error": "ValueError: no", "attempts": 3, "state": "failed"},
        **{"log": f"{store.folder}/runs/{d}/log.txt"},
    }


def test_the_exit_code_tells_whether_runs_have_failed(store, capsys):
    assert cli.main(["status", str(store.folder)]) == 1
    assert capsys.readouterr().out.splitlines() == shown(store)
    store.retry(store.plan.runs())
    assert cli.main(["status", str(store.folder)]) == 0
    assert "failed after" not in capsys.readouterr().out


def test_an_attempt_that_failed_is_no_failed_run(tmp_path):
    store = Store(tmp_path)
    store.create()
    store.plan.add([planned(0)])
    (run_id,) = store.plan.runs()
    fail(store, run_id, "OSError: full", times=1)
    assert f"{run_id} failed in 1 attempt, is tried again: OSError: full" in shown(store)
    assert not any("retry" in line or "worker-hours" in line for line in shown(store))  # no speed is known


def test_nothing_runs_and_at_last_nothing_is_left(tmp_path):
    store = Store(tmp_path)
    store.create()
    store.plan.add([planned(0), planned(1)])
    a, b = store.plan.runs()
    finish(store, a)
    assert shown(store)[-1] == "nothing runs now; spent about 1 worker-hour; left about 1 worker-hour"
    finish(store, b)
    store.finished.write_text("\nstage  runs\ntune   2\n\npredicted 2.1,\nmeasured 2.2\n")
    (store.folder / "report.html").touch()
    assert shown(store)[0].endswith(": finished")
    page = f"report: {store.folder / 'report.html'}"
    assert shown(store)[-4:] == ["spent about 2 worker-hours", "predicted 2.1,", "measured 2.2", page]


def test_of_many_running_runs_and_errors_the_first_are_shown(tmp_path):
    store = Store(tmp_path, backoff=0.0)
    store.create()
    store.plan.add([planned(k) for k in range(RUNNING_SHOWN + 3 + ERRORS_SHOWN + 1)])
    ids = list(store.plan.runs())
    for run_id in ids[: RUNNING_SHOWN + 3]:
        train(store, run_id)
    for k, run_id in enumerate(ids[RUNNING_SHOWN + 3 :]):
        fail(store, run_id, f"ValueError: {k}")
    lines = shown(store)
    assert sum("tokens/s  loss" in line for line in lines) == RUNNING_SHOWN and "  and 3 more" in lines
    assert f"{RUNNING_SHOWN + 3} running on 1 worker, 23k tokens/s" in lines
    assert [line[-1] for line in lines if "ValueError" in line] == ["0", "1", "2", "3", "4"]


def test_watching_ends_when_nothing_will_go_on_by_itself(store, capsys):
    """Two runs have failed; once the rest is done or cancelled, only a person can help."""
    left = [run_id for run_id, state in store.states().items() if state in ("planned", "running")]
    store.cancel(left)
    assert cli.main(["status", str(store.folder), "--watch"]) == 1
    assert capsys.readouterr().out.splitlines() == shown(store)


def test_watching_goes_on_while_something_is_left_to_do(store, tmp_path, monkeypatch, capsys):
    """Once until the last runs are cancelled, once, with all done and one dropped, until the study ends."""
    left = [run_id for run_id, state in store.states().items() if state in ("planned", "running")]
    after = Store(tmp_path / "x")
    after.create()
    after.plan.add([planned(0), planned(1)])
    finish(after, next(iter(after.plan.runs())))
    after.plan.keep_only(after.results())
    happens = iter([lambda: store.cancel(left), lambda: after.finished.write_text("well\n")])
    monkeypatch.setattr(status.time, "sleep", lambda _: next(happens)())
    assert cli.main(["status", str(store.folder), "--watch"]) == 1
    assert {store.states()[run_id] for run_id in left} == {"cancelled"}
    assert cli.main(["status", str(after.folder), "--watch"]) == 0
    assert next(happens, None) is None and f"{after.folder}: finished" in capsys.readouterr().out


def test_no_study_and_no_scheduler_are_said(store, tmp_path, capsys):
    assert cli.main(["status", str(store.folder), "--scheduler"]) == 1
    assert capsys.readouterr().out.endswith("no scheduler knows of a job of this study\n")
    assert cli.main(["status", str(tmp_path / "x")]) == 2
    assert (
        f"{tmp_path}/x: no study here; `isoflop study NAME --out {tmp_path}/x` makes"
        in capsys.readouterr().err
    )
    for arguments in ([], ["a", "b"]):
        with pytest.raises(ValueError, match=r"expected one study folder, got \[.*\]; usage: isoflop x DIR"):
            open_study(arguments, "isoflop x DIR")
