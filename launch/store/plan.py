"""What a study has planned: its runs, those it no longer holds, and the stages that wait for them."""

import json
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from experiments.files import read_json, write_atomic
from launch.store import settings
from launch.store.planned_run import PlannedRun


@dataclass
class Plan:
    """The plan kept in `root`, the folder `store` of a study."""

    root: Path
    _runs: dict[str, PlannedRun] = field(default_factory=dict, repr=False)
    _stamp: tuple[int, ...] = field(default=(), repr=False)
    _telling: tuple[dict[str, PlannedRun] | None, tuple[str, ...]] = field(default=(None, ()), repr=False)

    @property
    def path(self) -> Path:
        """The file of the planned runs, one a line."""
        return self.root / "study.jsonl"

    def runs(self) -> dict[str, PlannedRun]:
        """Planned runs by id, in the order they were added; read again only when the file has changed."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return {}
        if (stamp := _stamp(status)) != self._stamp:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
            runs = [self._parsed(number, line) for number, line in enumerate(lines, 1)]
            self._runs, self._stamp = {run.run_id: run for run in runs}, stamp
        return self._runs

    def telling(self) -> tuple[str, ...]:
        """Names of the settings that tell the planned runs apart (`settings.telling`)."""
        runs = self.runs()
        if self._telling[0] is not runs:
            self._telling = runs, settings.telling(run.config for run in runs.values())
        return self._telling[1]

    def _parsed(self, number: int, line: str) -> PlannedRun:
        try:
            return PlannedRun(**json.loads(line))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{self.path}:{number}: not a planned run ({error}); plan the study anew with its --out"
            ) from None

    def add(self, runs: list[PlannedRun]) -> list[PlannedRun]:
        """Plans the runs that are not planned yet and returns those. One process at a time may call this."""
        known = self.runs()
        new = {run.run_id: run for run in runs if run.run_id not in known}
        if new:
            lines = [json.dumps(vars(run)) + "\n" for run in (*known.values(), *new.values())]
            write_atomic(self.path, "".join(lines))
            self._runs, self._stamp = known | new, _stamp(self.path.stat())
        return list(new.values())

    def keep_only(self, run_ids: Collection[str]) -> list[str]:
        """Marks all other planned runs as dropped, takes the mark from these; returns the newly dropped."""
        dropped = self.dropped()
        for run_id in dropped.intersection(run_ids):
            (self.root / "dropped" / run_id).unlink(missing_ok=True)
        new = [run_id for run_id in self.runs() if run_id not in run_ids and run_id not in dropped]
        for run_id in new:
            (self.root / "dropped" / run_id).touch()
        return new

    def dropped(self) -> set[str]:
        """Runs that the study's definition no longer holds; their state is cancelled."""
        return names_in(self.root / "dropped")

    def waiting_stages(self) -> list[str]:
        """Stages that wait for the runs that are planned now."""
        path = self.root / "waiting.json"
        try:
            stages = read_json(path, list)
        except FileNotFoundError:
            return []
        if not all(isinstance(stage, str) for stage in stages):
            raise ValueError(f"{path} holds {stages!r:.60}; expected names of stages; plan the study anew")
        return stages

    def note_waiting(self, stages: list[str]) -> None:
        """Keeps the names of the stages that cannot be planned yet."""
        if stages != self.waiting_stages():
            write_atomic(self.root / "waiting.json", json.dumps(stages))


def names_in(folder: Path) -> set[str]:
    """Names of the files in a folder; none for a folder of a study that has not begun."""
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """Differs for every content that a file, replaced as a whole, had."""
    return status.st_ino, status.st_size, status.st_mtime_ns
