"""Progress: numbers from the store, a block that is redrawn in place, plain lines in a log."""

import io
import re

import pytest

from launch.monitor import progress
from launch.monitor.progress import (
    Display,
    Failure,
    Snapshot,
    duration,
    headline,
    running_line,
    short,
    snapshot,
    stage_lines,
)
from launch.store.store import STATES, Planned, Store


def planned(k: int, stage: str = "grid", n_params: int = 1000, flops: float = 1e9) -> Planned:
    return Planned(f"{k:012x}", stage, "s", n_params, 5000, flops, {"optimizer": {"lr": 0.01}})


def result(loss: float = 2.0, status: str = "done", flops_per_second: float = 1e8) -> dict:
    row = {"status": status, "loss": loss, "n_params": 1000, "wall_seconds": 12.3}
    return row | {"flops_per_second": flops_per_second}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path, backoff=0.0)
    store.create()
    return store


def say_progress(store: Store, run_id: str, step: int) -> dict:
    seen = f'{{"step": {step}, "n_steps": 100, "tokens_per_second": 1000, "loss": 2.5}}'
    (store.root / "progress" / run_id).write_text(seen)
    return store.progress(run_id)


def test_a_snapshot_counts_states_by_stage(store):
    store.add([planned(1, "tune"), planned(2, "tune"), *(planned(k) for k in range(3, 7))])
    ids = list(store.planned())
    store.finish(store.claim(ids[0]), result())
    store.finish(store.claim(ids[1]), result(float("inf"), "diverged"))
    for _ in range(store.max_attempts):
        store.fail(store.claim(ids[2]), "ValueError: no")
    store.claim(ids[3])
    seen_of_run = say_progress(store, ids[3], 50)
    seen = snapshot(store, 2)
    assert seen.stages == {
        "tune": dict.fromkeys(STATES, 0) | {"done": 1, "diverged": 1},
        "grid": dict.fromkeys(STATES, 0) | {"failed": 1, "running": 1, "planned": 2},
    }
    assert seen.states[ids[3]] == "running" and seen.ended == set(ids[:2])
    assert seen.running == [(store.planned()[ids[3]], seen_of_run)]
    assert seen.failures == [Failure(ids[2], "ValueError: no", 3, "failed")]
    assert seen.tokens_per_second == 1000 and seen.count("done", "diverged") == 2


def test_time_left_is_work_over_speed_shared_by_workers(store):
    store.add([planned(1), *(planned(k) for k in range(2, 6))])
    assert snapshot(store, 2).seconds_left is None  # no speed is known yet
    store.finish(store.claim(next(iter(store.planned()))), result(flops_per_second=1e8))
    assert snapshot(store, 2).seconds_left == pytest.approx(4 * 10 / 2)
    assert snapshot(store, 100).seconds_left == pytest.approx(10)  # a run is not split


def test_time_left_counts_what_a_running_run_has_done(store):
    store.add([planned(1)])
    (run_id,) = store.planned()
    store.claim(run_id)
    say_progress(store, run_id, 75)
    # 1000 tokens/s of 5000 tokens: 5 s, a quarter of which is left
    assert snapshot(store, 1).seconds_left == pytest.approx(1.25)


def test_runs_of_a_pack_share_one_worker(store):
    store.add([planned(k) for k in range(6)])
    for run_id in list(store.planned())[:2]:
        store.claim(run_id)  # both by this process
        say_progress(store, run_id, 50)
    seen = snapshot(store)
    # Each at 1000 tokens/s of 5000 tokens: the worker does 2000, and has 4 runs and two halves left.
    assert seen.n_workers == 1 and seen.seconds_left == pytest.approx(5 * 2.5)
    assert seen.worker_seconds == pytest.approx((2.5, 5 * 2.5))


def test_few_results_are_read_and_few_failures_shown_however_many_there_are(store, monkeypatch):
    store.add([planned(k, n_params=1000 + k % 2) for k in range(80)])
    for k, run_id in enumerate(list(store.planned())[:60]):
        if k < 30:
            store.finish(store.claim(run_id), result(flops_per_second=1e8) | {"n_params": 1000 + k % 2})
        else:
            store.fail(store.claim(run_id), "ValueError: no")
    read = []
    monkeypatch.setattr(store, "result", lambda run_id: read.append(run_id) or {"flops_per_second": 1e8})
    seen = snapshot(store, 1)
    assert len(read) == 2 * progress.RESULTS_A_SIZE and len(seen.failures) == progress.FAILURES_SHOWN
    assert seen.worker_seconds == pytest.approx((30 * 10, 50 * 10))


def test_speed_is_taken_from_the_model_nearest_in_size(store):
    rates = {100: 1.0, 10_000: 50.0}
    assert progress.run_seconds(planned(1, n_params=300, flops=100.0), rates) == 100
    assert progress.run_seconds(planned(1, n_params=3000, flops=100.0), rates) == 2


def test_nothing_is_left_of_a_finished_study(store):
    store.add([planned(1)])
    store.finish(store.claim(next(iter(store.planned()))), result())
    assert snapshot(store, 2).seconds_left == 0


@pytest.mark.parametrize(
    "value, text", [(0.0123, "0.0123"), (999, "999"), (22_400, "22.4k"), (1.2e6, "1.2M"), (3.456e9, "3.46B")]
)
def test_short_numbers(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    "seconds, text",
    [(0.4, "0 s"), (35, "35 s"), (80, "1 min 20 s"), (7500, "2 h 05 min"), (3 * 86400 + 4 * 3600, "3 d 4 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


class Terminal(io.StringIO):
    """What a terminal of `columns` would show."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        lines, row = [""], 0
        for token in re.findall(r"\x1b\[\d*[AKJ]|\r|\n|[^\x1b\r\n]+", self.getvalue()):
            if token == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
                column = 0
            elif token == "\r":
                column = 0
            elif token.endswith("A") and token.startswith("\x1b"):
                row -= int(token[2:-1])
                assert row >= 0
                column = 0
            elif token == "\x1b[K":
                lines[row] = lines[row][:column]
            elif token == "\x1b[J":
                lines = [*lines[:row], ""]
                column = 0
            else:
                column = 0 if row >= len(lines) or not lines[row] else column
                lines[row] = token + lines[row][len(token) :]
                column = len(token)
        return lines


def seen_with(n_running: int, done: int = 0, loss: float = 2.5) -> Snapshot:
    at = {"step": 30, "n_steps": 100, "tokens_per_second": 1000, "loss": loss}
    counts = dict.fromkeys(STATES, 0) | {"running": n_running, "done": done, "planned": 3}
    return Snapshot({}, {"grid": counts}, [(planned(k), at) for k in range(n_running)], [], 80.0)


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_terminal_shows_one_block_redrawn_in_place(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: progress.os.terminal_size((200, 24)))
    terminal = Terminal()
    display = Display(terminal)
    display.show(["first", "a long second line", "third"])
    display.show(["first again", "second"])
    assert terminal.screen() == ["first again", "second", ""]
    display.say("stage 1/2 grid: 6 runs done")
    display.show(["more"])
    assert terminal.screen() == ["stage 1/2 grid: 6 runs done", "more", ""]
    display.clear()
    assert terminal.screen() == ["stage 1/2 grid: 6 runs done", ""]


def test_a_block_never_exceeds_the_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: progress.os.terminal_size((40, 5)))
    terminal = Terminal()
    display = Display(terminal)
    display.show(stage_lines(seen_with(50), "grid", "stage 1/2 grid", display.columns, display.bar))
    lines = terminal.screen()
    assert len(lines) == 5 and max(map(len, lines)) == 39


def test_a_log_gets_plain_lines_one_every_ten_seconds_at_most(clock):
    log = io.StringIO()
    display = Display(log)
    display.show(["state 1", "more"])
    assert log.getvalue() == ""
    display.say("run a")
    clock[0] = 9.0
    display.show(["state 2", "more"])
    clock[0] = 11.0
    display.show(["state 3", "more"])
    display.show(["state 4", "more"])
    display.clear()
    assert log.getvalue() == "run a\nstate 3\n"


def test_the_headline_says_what_matters():
    assert headline(seen_with(2, done=1), "grid", "stage 2/3 grid") == (
        "stage 2/3 grid · 1/6 runs · 2 running · 3 left · about 1 min 20 s to go · 2k tokens/s"
    )


def test_a_running_line_uses_the_width_it_has():
    run, seen = seen_with(1).running[0]
    words = "  000000  N 1k  D 5k  lr 0.01  "
    assert running_line(run, seen, 110) == f"{words}██████░░░░░░░░░░░░░░ 30/100  1k tokens/s  loss 2.500"
    assert running_line(run, seen, 70) == f"{words}██░░░░░ 30/100  1k tokens/s  loss 2.500"
    assert running_line(run, seen, 66) == f"{words}30/100  1k tokens/s  loss 2.500"
    assert running_line(run, {}, 110) == f"{words}starting"
