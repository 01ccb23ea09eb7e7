"""Checkpoints by tasks: what each answered, as rows of a table, compared in pairs and joined over seeds."""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.evaluate.checkpoint_paths import Checkpoint, fingerprint
from experiments.evaluate.statistics.intervals import Estimate, Joined
from experiments.evaluate.tasks import task_metrics
from experiments.evaluate.tasks.builtin_tasks import EMBEDDED, embedded_task
from experiments.evaluate.tasks.responses import Answers, ask
from experiments.evaluate.tasks.task import METRICS, Task, read_task

COLUMNS = ("run_id", "task", "metric", "value", "se", "lo", "hi", "n", "chance", "ceiling")


@dataclass(frozen=True)
class Score:
    """A checkpoint's answers, by name of the task."""

    checkpoint: Checkpoint
    answers: dict[str, Answers]


@dataclass(frozen=True)
class Seeds:
    """One task over runs that differ in their seed alone."""

    checkpoints: tuple[Checkpoint, ...]
    task: str
    joined: Joined


def find_task(name: str, limit: int | None = None, seed: int = 0) -> Task:
    """An embedded task, asked in another way as NAME:METRIC, or a file of the user's own.

    Raises:
      ValueError: neither, or a metric that there is not.
    """
    known, _, metric = name.partition(":")
    if known not in EMBEDDED:
        if not (Path(name).suffix or "/" in name):
            raise ValueError(f"no task {name!r}; there are {', '.join(EMBEDDED)}, or give a .jsonl file")
        return read_task(name)
    if metric and metric not in METRICS:
        raise ValueError(f"--tasks {name}: no metric {metric!r}; there are {', '.join(METRICS)}")
    return replace(embedded_task(known, limit, seed, metric or "multiple_choice"), name=name)


def score(
    checkpoint: Checkpoint,
    tasks: list[Task],
    *,
    shots: int = 0,
    seed: int = 0,
    limit: int | None = None,
    opener: Callable[[], Any] | None = None,
    progress: Callable[[str, int, int], None] = lambda task, done, total: None,
) -> Score:
    """Asks a checkpoint all tasks; it is opened at most once, and only if there is something to ask.

    Raises:
      ValueError: as `ask`, or the checkpoint cannot be opened.
    """
    key, found = fingerprint(checkpoint.folder), {}
    opener = opener or opened_once(checkpoint.folder)
    for task in tasks:
        found[task.name] = ask(
            key,
            opener,
            task,
            shots=shots,
            seed=seed,
            limit=limit,
            progress=lambda done, total, name=task.name: progress(name, done, total),
        )
    return Score(checkpoint, found)


def opened_once(folder: Path) -> Callable[[], Any]:
    """A function that opens the checkpoint when it is first called, and remembers it."""
    kept = []

    def opener():
        if not kept:
            from experiments.evaluate.loaded_model import open_subject  # here: imports jax

            kept.append(open_subject(folder))
        return kept[0]

    return opener


def rows(scores: list[Score], level: float = 0.9) -> list[dict[str, Any]]:
    """One row a checkpoint, task and metric: COLUMNS, then what the study's table says of the run."""
    made = []
    for one in scores:
        for answers in one.answers.values():
            for result in task_metrics.results(answers, level):
                row = {"run_id": one.checkpoint.name, "task": result.task, "metric": result.metric}
                row |= vars(result.estimate) | {"n": result.n}
                row |= {"chance": result.chance, "ceiling": result.ceiling}
                of_run = {name: v for name, v in one.checkpoint.row.items() if name not in row}
                made.append(row | of_run)
    return made


def as_csv(table: list[dict[str, Any]]) -> str:
    """Rows as CSV, with every column that any of them has; what is not known is empty."""
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in table for name in row)]))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in table:
        writer.writerow({name: "" if _unknown(value) else value for name, value in row.items()})
    return out.getvalue()


def differences(scores: list[Score], level: float = 0.9) -> list[dict[str, Estimate]]:
    """How much better each checkpoint after the first is than the first, by task, paired by item."""
    first = scores[0]
    return [
        {
            name: task_metrics.difference(one.answers[name], first.answers[name], level)
            for name in first.answers
        }
        for one in scores[1:]
    ]


def over_seeds(scores: list[Score], level: float = 0.9) -> list[Seeds]:
    """Tasks joined over the runs, one a seed and two at least, whose configurations differ in it alone."""
    alike: dict[str, dict[int, Score]] = {}
    for one in scores:
        config = json.loads((one.checkpoint.folder / "config.json").read_text())
        if "seed" in config:
            of_seed = alike.setdefault(json.dumps(config | {"seed": None}, sort_keys=True), {})
            of_seed.setdefault(config["seed"], one)
    groups = [list(of_seed.values()) for of_seed in alike.values()]
    return [
        Seeds(
            tuple(one.checkpoint for one in same),
            name,
            task_metrics.joined([one.answers[name] for one in same], level),
        )
        for same in groups
        if len(same) > 1
        for name in same[0].answers
    ]


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
