"""Study and stage: a study is a list of stages; a stage turns the runs so far into the next runs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.config import RunConfig
from experiments.data_configs import DataConfig

if TYPE_CHECKING:
    from scaling.table.runs import Runs

K = TypeVar("K")
MOST_RESAMPLES = 100_000  # as of `scaling.fit`, which plans do not load


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

    finish(folder, all runs) writes the results and returns its conclusion in words.
    notes: what is good to know before it runs.
    files: what of its definition its folder keeps, by name, where it is no code.
    prepare() makes what plans depend on besides runs, such as the tokens of a corpus, and returns the study
    that plans with it; None: there is nothing to prepare. `prepared` is called before a stage is planned.
    from_the_web: whether that downloads a corpus. A plan that is only shown does without; its runs have
    other ids.
    """

    name: str
    summary: str
    settings: Any
    stages: tuple[Stage, ...]
    finish: Callable[[Path, Runs], str]
    prepare: Callable[[], Study] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    from_the_web: bool = False

    def prepared(self) -> Study:
        """The study as it can be planned and finished; raises ValueError if its data cannot be prepared."""
        return self.prepare() if self.prepare else self


def check_statistics(level: float, n_bootstrap: int = 1) -> None:
    """Refuses, before anything trains, settings that give no intervals.

    Raises:
      ValueError: a level that is not between 0 and 1, or no resamples.
    """
    if not 0 < level < 1:
        raise ValueError(f"Settings.level={level}; it must be between 0 and 1, for example 0.9")
    if not 1 <= n_bootstrap <= MOST_RESAMPLES:
        raise ValueError(f"Settings.n_bootstrap={n_bootstrap}; intervals take 1 to {MOST_RESAMPLES:,}")


def with_prepared_data(data: DataConfig, build: Callable[[DataConfig], Study]) -> Study:
    """A study that is built anew when its data are prepared, so that its runs name their tokens.

    Args:
      data: of all its runs, without a fingerprint.
      build: makes the study on these data; reads none of them.
    """
    return dataclasses.replace(build(data), prepare=lambda: build(prepared_data(data)))


def prepared_data(data: DataConfig) -> DataConfig:
    """The same data with the fingerprint of its tokens, which are made now if they are not there."""
    return _prepared((data,))[0]


def prepared_corpora(data: Mapping[K, DataConfig]) -> dict[K, DataConfig]:
    """`prepared_data` of several corpora, made one after the other by one process."""
    return dict(zip(data, _prepared(tuple(data.values())), strict=True))


@functools.cache
def _prepared(data: tuple[DataConfig, ...]) -> list[DataConfig]:
    from experiments.data.cache import read_manifest
    from experiments.data.prepare import prepare_all

    folders = zip(data, prepare_all(data), strict=True)
    return [
        dataclasses.replace(each, fingerprint=read_manifest(folder)["fingerprint"])
        for each, folder in folders
    ]
