"""Checkpoints by tasks: metrics as rows of a table, compared in pairs and averaged over seeds."""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.evaluate.checkpoint_paths import Checkpoint
from experiments.evaluate.statistics.intervals import Estimate, SeedMean
from experiments.evaluate.tasks import task_metrics
from experiments.evaluate.tasks.builtin_tasks import BUILTIN_TASKS, builtin_task, find
from experiments.evaluate.tasks.responses import Responses, collect_responses
from experiments.evaluate.tasks.task import METRICS, Task, read_task
from experiments.files import fingerprint, read_json

COLUMNS = ("run_id", "task", "metric", "value", "se", "lo", "hi", "n", "chance", "ceiling")


@dataclass(frozen=True)
class CheckpointResponses:
    """A checkpoint's responses, by name of the task."""

    checkpoint: Checkpoint
    responses: dict[str, Responses]


@dataclass(frozen=True)
class SeedGroup:
    """One task over runs that differ in their seed alone."""

    checkpoints: tuple[Checkpoint, ...]
    task: str
    mean: SeedMean


def find_task(name: str, limit: int | None = None, seed: int = 0) -> Task:
    """A built-in task or one of the user's own FILE.py, posed in another way as NAME:METRIC, or a JSONL file.

    Raises:
      ValueError: neither, or a metric that there is not.
    """
    file, colon, rest = name.partition(".py:")
    known, _, metric = (rest if colon else name).partition(":")
    known = f"{file}{colon}{known}" if colon else known
    if known not in BUILTIN_TASKS and not colon and (Path(name).suffix or "/" in name):
        return read_task(name)
    find(known)
    if metric and metric not in METRICS:
        raise ValueError(f"--tasks {name}: no metric {metric!r}; there are {', '.join(METRICS)}")
    return replace(builtin_task(known, limit, seed, metric or "multiple_choice"), name=name)


def evaluate_tasks(
    checkpoint: Checkpoint,
    tasks: list[Task],
    *,
    shots: int = 0,
    seed: int = 0,
    limit: int | None = None,
    loader: Callable[[], Any] | None = None,
    progress: Callable[[str, int, int], None] = lambda task, done, total: None,
) -> CheckpointResponses:
    """A checkpoint's responses to all tasks; it is loaded at most once, and only if a response is not cached.

    Args:
      tasks: with different names.
      shots: solved examples before each item, drawn by `seed`.
      limit: items of each task, from the first on; None for all.
      loader: gives the loaded model; by default loads it from the checkpoint's folder.
      progress: called with (name of the task, items done, of how many).

    Raises:
      ValueError: as `collect_responses`, or the checkpoint cannot be loaded.
    """
    key, found = fingerprint(checkpoint.folder), {}
    loader = loader or load_once(checkpoint.folder)
    for task in tasks:
        found[task.name] = collect_responses(
            key,
            loader,
            task,
            shots=shots,
            seed=seed,
            limit=limit,
            progress=lambda done, total, name=task.name: progress(name, done, total),
        )
    return CheckpointResponses(checkpoint, found)


def load_once(folder: Path) -> Callable[[], Any]:
    """A function that loads the checkpoint when it is first called, and keeps it."""
    kept = []

    def loader():
        if not kept:
            from experiments.evaluate.loaded_model import load_model  # here: imports jax

            kept.append(load_model(folder))
        return kept[0]

    return loader


def rows(evaluated: list[CheckpointResponses], level: float = 0.9) -> list[dict[str, Any]]:
    """One row a checkpoint, task and metric: COLUMNS, then what the study's table says of the run."""
    made = []
    for one in evaluated:
        for responses in one.responses.values():
            for result in task_metrics.results(responses, level):
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


def differences(evaluated: list[CheckpointResponses], level: float = 0.9) -> list[dict[str, Estimate]]:
    """How much better each checkpoint after the first is than the first, by task, paired by item."""
    first = evaluated[0]
    return [
        {
            name: task_metrics.difference(one.responses[name], first.responses[name], level)
            for name in first.responses
        }
        for one in evaluated[1:]
    ]


def over_seeds(evaluated: list[CheckpointResponses], level: float = 0.9) -> list[SeedGroup]:
    """Tasks averaged over the runs, one a seed and two at least, whose configurations differ in it alone."""
    alike: dict[str, dict[int, CheckpointResponses]] = {}
    for one in evaluated:
        config = read_json(one.checkpoint.folder / "config.json")
        if "seed" in config:
            of_seed = alike.setdefault(json.dumps(config | {"seed": None}, sort_keys=True), {})
            of_seed.setdefault(config["seed"], one)
    groups = [list(of_seed.values()) for of_seed in alike.values()]
    return [
        SeedGroup(
            tuple(one.checkpoint for one in same),
            name,
            task_metrics.mean_over_seeds([one.responses[name] for one in same], level),
        )
        for same in groups
        if len(same) > 1
        for name in same[0].responses
    ]


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
