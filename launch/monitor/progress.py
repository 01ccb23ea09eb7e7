"""How far a study is, as data (`snapshot`) and on the screen (`Display`)."""

import math
import os
import shutil
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TextIO

from launch.store.store import STATES, UNFINISHED, Look, Planned, Store

LOG_SECONDS = 10.0
FAILURES_SHOWN = 20
RESULTS_A_SIZE = 3  # read for the speed of models of one size
SIZES_READ = 100


@dataclass(frozen=True)
class Failure:
    """A run whose last attempt failed: the last line of its traceback, how often, and whether it is left."""

    run_id: str
    error: str
    attempts: int
    state: str


@dataclass(frozen=True)
class Snapshot:
    """State of a study: runs by stage and state, what runs now, what failed, and the time it will take.

    states: {run id: state}. stages: {stage: {state: number of runs}}. running: (run, its progress file).
    failures: the first ones. seconds_left: of the runs planned so far, by measured speeds; None before any
    was measured. n_workers: that train now. worker_seconds: (done, left), likewise, all workers together.
    """

    states: dict[str, str]
    stages: dict[str, dict[str, int]]
    running: list[tuple[Planned, dict[str, Any]]]
    failures: list[Failure]
    seconds_left: float | None
    n_workers: int = 0
    worker_seconds: tuple[float, float] | None = None

    def count(self, *states: str) -> int:
        """Runs of all stages in any of the states."""
        return sum(counts[state] for counts in self.stages.values() for state in states)

    @property
    def ended(self) -> set[str]:
        """Runs with a result."""
        return {run_id for run_id, state in self.states.items() if state in ("done", "diverged")}

    @property
    def tokens_per_second(self) -> float:
        """Speed of all running runs together."""
        return sum(progress.get("tokens_per_second", 0) for _, progress in self.running)


def snapshot(store: Store, n_workers: int = 0) -> Snapshot:
    """Reads the store, as it is now; opens few files, however many runs there are. n_workers: that will share
    the rest of the work (0: as many as work now)."""
    look = store.look()
    planned = store.planned()  # after the states: runs are only ever added
    stages = {run.stage: dict.fromkeys(STATES, 0) for run in planned.values()}
    by_state: dict[str, list[Planned]] = {state: [] for state in STATES}
    for run_id, state in look.states.items():
        run = planned[run_id]
        stages[run.stage][state] += 1
        by_state[state].append(run)
    running = [(run, store.progress(run.run_id)) for run in by_state["claimed"] + by_state["running"]]
    ended, waiting = by_state["done"] + by_state["diverged"], by_state["planned"]
    packed = Counter(look.holders.values())
    rates = _running_rates(running, {run_id: packed[name] for run_id, name in look.holders.items()})
    rates |= measured_rates(store, ended)
    return Snapshot(
        look.states,
        stages,
        running,
        _failures(store, look),
        _seconds_left(waiting, running, rates, n_workers or len(packed)),
        len(packed),
        _worker_seconds(ended, waiting, running, rates) if rates else None,
    )


def _failures(store: Store, look: Look) -> list[Failure]:
    """The first runs with failed attempts; those that are left come first."""
    troubled = [run_id for run_id in look.attempts if look.states.get(run_id) in ("failed", *UNFINISHED)]
    troubled.sort(key=lambda run_id: (look.states[run_id] != "failed", run_id))
    return [
        Failure(run_id, store.error(run_id, n := look.attempts[run_id]), n, look.states[run_id])
        for run_id in troubled[:FAILURES_SHOWN]
    ]


def _running_rates(running: list[tuple[Planned, dict]], n_packed: dict[str, int]) -> dict[int, float]:
    """FLOP/s of one worker by model size, from what running runs say, each of its part of a pack."""
    return {
        run.n_params: progress["tokens_per_second"] * run.flops / run.n_tokens * n_packed[run.run_id]
        for run, progress in running
        if progress.get("tokens_per_second")
    }


def measured_rates(store: Store, ended: list[Planned]) -> dict[int, float]:
    """FLOP/s of one worker by model size (n_params), from the last few results of a size."""
    last: dict[int, list[str]] = {}
    for run in reversed(ended):
        if len(sample := last.setdefault(run.n_params, [])) < RESULTS_A_SIZE:
            sample.append(run.run_id)
    return {
        n_params: statistics.median(store.result(run_id)["flops_per_second"] for run_id in run_ids)
        for n_params, run_ids in list(last.items())[:SIZES_READ]
    }


# FLOP/s of one worker on one core of a small cloud machine, by model size: for plans before any measurement.
ROUGH_RATES = {11_000: 7e9, 33_000: 16e9, 217_000: 28e9}


def run_seconds(run: Planned, rates: dict[int, float]) -> float:
    """Time a run takes at the measured rate of the model nearest in size; `rates` must not be empty."""
    nearest = min(rates, key=lambda n_params: abs(math.log(n_params / run.n_params)))
    return run.flops / rates[nearest]


def _left(running: list[tuple[Planned, dict[str, Any]]], rates: dict[int, float]) -> list[float]:
    """Seconds of a worker that each running run still takes."""
    return [
        run_seconds(run, rates) * (1 - progress.get("step", 0) / progress.get("n_steps", 1))
        for run, progress in running
    ]


def _seconds_left(waiting, running, rates: dict[int, float], n_workers: int) -> float | None:
    """Until all these runs are done by `n_workers`: the work shared evenly, but no run is split."""
    if not rates or not (waiting or running):
        return None if waiting or running else 0.0
    whole, parts = [run_seconds(run, rates) for run in waiting], _left(running, rates)
    return max(sum(whole + parts) / max(n_workers, 1), *whole, *parts)


def _worker_seconds(ended, waiting, running, rates: dict[int, float]) -> tuple[float, float]:
    """Of all workers together: spent so far, and left; at the measured speeds."""
    parts = _left(running, rates)
    begun = sum(run_seconds(run, rates) for run, _ in running) - sum(parts)
    spent = sum(run_seconds(run, rates) for run in ended) + begun
    return spent, sum(run_seconds(run, rates) for run in waiting) + sum(parts)


# ---- words ---------------------------------------------------------------------------------------------


def short(value: float) -> str:
    """Three significant digits and a unit: 22400 -> "22.4k"."""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def n_runs(n: int) -> str:
    """ "1 run", "7 runs"."""
    return f"{n} run{'' if n == 1 else 's'}"


def duration(seconds: float) -> str:
    """ "35 s", "1 min 20 s", "2 h 05 min", "3 d 4 h"."""
    whole = max(0, round(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def describe(run: Planned, id_length: int = 12) -> str:
    """A run in a few words."""
    lr = run.config["optimizer"]["lr"]
    return f"{run.run_id[:id_length]}  N {short(run.n_params)}  D {short(run.n_tokens)}  lr {lr:.2g}"


def finished_line(run: Planned, result: dict[str, Any]) -> str:
    """A finished run in one line."""
    took = f" in {duration(result['wall_seconds'])}" if "wall_seconds" in result else ""
    ended = "diverged" if result["status"] == "diverged" else f"loss {result['loss']:.4f}"
    return f"{describe(run)}  {ended}{took}"


def headline(seen: Snapshot, stage: str, title: str) -> str:
    """The stage in one line."""
    counts = seen.stages.get(stage, dict.fromkeys(STATES, 0))
    n, done = sum(counts.values()), counts["done"] + counts["diverged"]
    words = [
        title,
        f"{done}/{n} runs",
        f"{counts['claimed'] + counts['running']} running",
        f"{counts['planned']} left",
    ]
    words += [f"{counts[state]} {state}" for state in ("diverged", "failed", "cancelled") if counts[state]]
    if seen.seconds_left:
        words.append(f"about {duration(seen.seconds_left)} to go")
    if seen.tokens_per_second:
        words.append(f"{short(seen.tokens_per_second)} tokens/s")
    return " · ".join(words)


def running_line(run: Planned, progress: dict[str, Any], columns: int, bar: str = "█░") -> str:
    """A running run in at most `columns` characters; what is left of them becomes a bar (full, empty)."""
    left = f"  {describe(run, id_length=6)}  "
    if not progress:
        return (left + "starting")[:columns]
    step, n_steps = progress["step"], progress["n_steps"]
    right = (
        f"{step:,}/{n_steps:,}  {short(progress['tokens_per_second'])} tokens/s  loss {progress['loss']:.3f}"
    )
    width = min(20, columns - len(left) - len(right) - 1)
    full = min(width, round(width * step / n_steps))
    drawn = bar[0] * full + bar[1] * (width - full) + " " if width > 3 else ""
    return (left + drawn + right)[:columns]


def stage_lines(seen: Snapshot, stage: str, title: str, columns: int, bar: str) -> list[str]:
    """The stage, then its running runs."""
    runs = [running_line(run, progress, columns, bar) for run, progress in seen.running]
    return [headline(seen, stage, title), *runs]


def last_words(store: Store) -> str:
    """What a finished study found, and where its page is now: folders move."""
    page = store.folder / "report.html"
    return store.finished.read_text().rstrip("\n") + (f"\nreport: {page}" if page.exists() else "")


# ---- screen --------------------------------------------------------------------------------------------


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
    _spoken: float = field(default_factory=time.monotonic)

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
        self._drawn, self._spoken = 0, time.monotonic()

    def show(self, lines: list[str]) -> None:
        """Makes `lines` the block; in a log, says the first one where nothing was said for LOG_SECONDS."""
        if self.live:
            lines = [line[: self.columns] for line in lines[: shutil.get_terminal_size().lines - 1]]
            self._write(self._over(lines))
            self._drawn = len(lines)
        elif time.monotonic() - self._spoken > LOG_SECONDS:
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
