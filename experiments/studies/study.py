"""Study and stage: a study is a list of stages; a stage turns the runs so far into the next runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config import RunConfig
from scaling.table.runs import Runs


@dataclass(frozen=True)
class Stage:
    """A step of a study.

    plan(runs so far) -> configurations to train: pure, the same runs give the same answer; may be none.
    whole_machine: its runs are large, so they go one at a time to all cores or GPUs.
    before(folder, runs so far, configurations): writes what must be on disk before the first of them trains.
    """

    name: str
    plan: Callable[[Runs], list[RunConfig]]
    whole_machine: bool = False
    before: Callable[[Path, Runs, list[RunConfig]], None] | None = None


@dataclass(frozen=True)
class Study:
    """A study with its settings filled in.

    finish(folder, all runs) writes the results and returns the last words of the study.
    """

    name: str
    summary: str
    settings: Any
    stages: tuple[Stage, ...]
    finish: Callable[[Path, Runs], str]
