"""Numbers, durations, stages and runs in words."""

from dataclasses import replace

import pytest

from launch.monitor.progress import StudyProgress
from launch.monitor.text import duration, finished_line, headline, running_line, short
from launch.store import STATES
from tests.launch.monitor.test_progress import planned


@pytest.mark.parametrize(
    "value, text", [(0.0123, "0.0123"), (999, "999"), (22_400, "22.4k"), (999_936, "1M"), (3.456e9, "3.46B")]
)
def test_short_numbers(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    "seconds, text",
    [(0.4, "0 s"), (35, "35 s"), (80, "1 min 20 s"), (7500, "2 h 05 min"), (3 * 86400 + 4 * 3600, "3 d 4 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def seen_with(n_running: int, done: int = 0, loss: float = 2.5) -> StudyProgress:
    at = {"step": 30, "n_steps": 100, "tokens_per_second": 1000, "loss": loss}
    counts = dict.fromkeys(STATES, 0) | {"running": n_running, "done": done, "planned": 3}
    return StudyProgress({}, {"grid": counts}, [(planned(k), at) for k in range(n_running)], [], 80.0)


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


def test_settings_that_tell_runs_apart_are_said_as_far_as_there_is_room():
    run, seen = seen_with(1).running[0]
    run = replace(run, config={"optimizer": {"lr": 0.01, "weight_decay": 0.1}, "seed": 3})
    names = ("optimizer.lr", "optimizer.weight_decay", "seed", "init.source")
    words = "  000000  N 1k  D 5k  lr 0.01  "
    right = "30/100  1k tokens/s  loss 2.500"
    said = running_line(run, seen, 110, names=names)
    assert said.startswith(f"{words}optimizer.weight_decay 0.1  seed 3  ") and said.endswith(right)
    assert running_line(run, seen, 72, names=names) == f"{words}seed 3  {right}"
    assert "  optimizer.weight_decay 0.1  seed 3  loss 2.0000" in finished_line(
        run, {"status": "done", "loss": 2.0}, names
    )
