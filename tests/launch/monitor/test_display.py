"""A block that is redrawn in place on a terminal, plain lines in a log."""

import io
import os
import re

import pytest

from launch.monitor import display as module
from launch.monitor.display import Display
from launch.monitor.text import stage_lines
from tests.launch.monitor.test_text import seen_with


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


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_terminal_shows_one_block_redrawn_in_place(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(module.shutil, "get_terminal_size", lambda: os.terminal_size((200, 24)))
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
    monkeypatch.setattr(module.shutil, "get_terminal_size", lambda: os.terminal_size((40, 5)))
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
