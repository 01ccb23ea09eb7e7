"""Runs, stages and durations in words, for terminals and logs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.evaluate.terminal import printable
from launch.monitor.progress import StudyProgress
from launch.store import STATES, PlannedRun, Store, settings

SAID = ("optimizer.lr", "n_tokens", "model.d_model")  # of every run, the last by its N


def short(value: float) -> str:
    """Three significant digits and a unit: 22400 -> "22.4k", 999936 -> "1M"."""
    value = float(f"{value:.3g}")
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


def cell(column: str, value: Any) -> str:
    """What a table of runs has in a column: counts as 22.4k, losses to four decimals, a dash for nothing."""
    if value is None or value != value:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return printable(settings.written(value))
    if "flops" in column:
        return f"{value:.2e}"
    if column.startswith(("n_", "val_")) or column.endswith("_tokens"):
        return short(value)
    return f"{value:.4f}" if column.startswith("loss") else settings.written(value)


def columns(named: Mapping[str, Sequence[Any]], width: int | None = None) -> tuple[list[str], list[str]]:
    """A heading and a line a row, numbers below their ends and texts below their beginnings; and the names of
    the last columns, for which so much `width` has no room."""
    lines, left_out = [""] * (1 + len(next(iter(named.values()), []))), []
    for name, values in named.items():
        words = [printable(name), *(cell(name, value) for value in values)]
        side = "<" if any(isinstance(value, str) for value in values) else ">"
        longest = max(map(len, words))
        if left_out or (width and len(lines[0]) + longest > width):
            left_out.append(name)
        else:
            lines = [f"{line}{word:{side}{longest}}  " for line, word in zip(lines, words)]
    return [line.rstrip() for line in lines], left_out


def strict(value: Any) -> Any:
    """The value as JSON has it: null for what is missing or infinite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe(run: PlannedRun, id_length: int = 12) -> str:
    """A run in a few words."""
    lr = run.config["optimizer"]["lr"]
    return f"{run.run_id[:id_length]}  N {short(run.n_params)}  D {short(run.n_tokens)}  lr {lr:.2g}"


def also(run: PlannedRun, names: Iterable[str]) -> list[str]:
    """The settings of these names that `describe` does not say, and the run has: "seed 1"."""
    values = [(name, settings.value(run.config, name)) for name in names if name not in SAID]
    return [
        f"{settings.column(name)} {settings.written(value)}" for name, value in values if value is not None
    ]


def finished_line(run: PlannedRun, result: dict[str, Any], names: Iterable[str] = ()) -> str:
    """A finished run in one line, with the settings of these names."""
    took = f" in {duration(result['wall_seconds'])}" if "wall_seconds" in result else ""
    ended = "diverged" if result["status"] == "diverged" else f"loss {result['loss']:.4f}"
    return "  ".join([describe(run), *also(run, names), f"{ended}{took}"])


def headline(seen: StudyProgress, stage: str, title: str) -> str:
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


def running_line(
    run: PlannedRun,
    progress: dict[str, Any],
    columns: int,
    bar: str = "█░",
    names: Iterable[str] = (),
) -> str:
    """A running run in at most `columns` characters; what is left of them becomes a bar (full, empty).

    Args:
      run: as planned.
      progress: step, n_steps, tokens_per_second, loss; {} before the first step.
      columns: of the terminal.
      bar: a full and an empty character.
      names: settings to say, as far as there is room.
    """
    left = f"  {describe(run, id_length=6)}  "
    if not progress:
        return "  ".join([left.rstrip(), *also(run, names), "starting"])[:columns]
    step, n_steps = progress["step"], progress["n_steps"]
    right = (
        f"{step:,}/{n_steps:,}  {short(progress['tokens_per_second'])} tokens/s  loss {progress['loss']:.3f}"
    )
    for words in also(run, names):
        left += f"{words}  " if len(left) + len(words) + len(right) + 2 <= columns else ""
    width = min(20, columns - len(left) - len(right) - 1)
    full = min(width, round(width * step / n_steps))
    drawn = bar[0] * full + bar[1] * (width - full) + " " if width > 3 else ""
    return (left + drawn + right)[:columns]


def stage_lines(seen: StudyProgress, stage: str, title: str, columns: int, bar: str) -> list[str]:
    """The stage, then its running runs.

    Args:
      seen: how far the study is.
      stage: its name in the plan.
      title: what the line begins with.
      columns: of the terminal.
      bar: a full and an empty character.
    """
    runs = [running_line(run, progress, columns, bar, seen.settings) for run, progress in seen.running]
    return [headline(seen, stage, title), *runs]


def summary(store: Store) -> str:
    """What a finished study found, and where its page is now: folders move."""
    page = store.folder / "report.html"
    return store.finished.read_text().rstrip("\n") + (f"\nreport: {page}" if page.exists() else "")
