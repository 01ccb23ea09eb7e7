"""Progress on a screen: a block of lines redrawn in place, or plain lines where nothing can be redrawn.

These sixty lines stand in for rich or tqdm: importing rich.live alone takes as long as all of `isoflop
status`, and in a log both print either every refresh or nothing until the end, not a line from time to time.
"""

import math
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

LOG_SECONDS = 10.0  # without a terminal: the least time between two lines about the same work


@dataclass
class Every:
    """Calling it is true at most once in `seconds`."""

    seconds: float
    _last: float = -math.inf

    def __call__(self) -> bool:
        now = time.monotonic()
        due = now - self._last > self.seconds
        self._last = now if due else self._last
        return due


@dataclass
class Display:
    """Shows progress on `stream`: a block redrawn in place on a terminal, plain lines elsewhere."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    _drawn: int = 0  # lines of the block on the screen, above the cursor
    _printed: float = field(default_factory=time.monotonic)

    @property
    def live(self) -> bool:
        return self.stream.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def columns(self) -> int:
        """Characters in a line that never wraps."""
        return shutil.get_terminal_size().columns - 1

    @property
    def bar(self) -> str:
        """A full and an empty piece of a bar."""
        return "█░" if "utf" in (self.stream.encoding or "").lower() else "#."

    def say(self, text: str) -> None:
        """A line that stays."""
        self._write(self._over([]) + text + "\n")
        self._drawn, self._printed = 0, time.monotonic()

    def show(self, lines: list[str]) -> None:
        """Makes `lines` the block; in a log, says the first one where nothing was said for LOG_SECONDS."""
        if self.live:
            lines = [line[: self.columns] for line in lines[: shutil.get_terminal_size().lines - 1]]
            self._write(self._over(lines))
            self._drawn = len(lines)
        elif time.monotonic() - self._printed > LOG_SECONDS:
            self.say(lines[0])

    def clear(self) -> None:
        """Takes the block off the screen."""
        if self._drawn:
            self._write(self._over([]))
            self._drawn = 0

    def _over(self, lines: list[str]) -> str:
        """Control text that puts `lines` where the block is: each is overwritten, then cleared to its end,
        so that nothing flickers."""
        up = f"\r\x1b[{self._drawn}A" if self._drawn else ""
        rest = "\x1b[J" if self._drawn > len(lines) else ""
        return up + "".join(line + "\x1b[K\n" for line in lines) + rest

    def _write(self, text: str) -> None:
        if text:
            self.stream.write(text)
            self.stream.flush()
