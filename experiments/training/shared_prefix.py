"""Shared trunks: states that runs of one trunk leave each other where their decays branch off."""

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import RunConfig
from experiments.files import sync_folder
from experiments.training.checkpoint import Checkpoints
from experiments.training.processes import from_all, leads


class Trunk:
    """The points of a run's trunk under `trunks/<trunk_key>/<step>`, each whole or absent.

    A point is a checkpoint whose JSON also has the lines of the record so far: what a run finds there is to
    the bit what it would have computed.
    """

    def __init__(self, trunks: Path, config: RunConfig):
        self.folder, self.config = trunks / config.trunk_key, config
        self.points = Checkpoints(self.folder, keep=None)

    def steps(self) -> set[int]:
        """The steps of the points that the run can start from."""
        return {step for step in self.points.steps() if step <= self.config.branch_step}

    def leave(self, step: int, params: Any, opt_state: Any, meta: dict[str, Any]) -> None:
        """Leaves a point for others, unless there is one that can be read; waits until it is written.

        It is written to a folder <trunk_key>.<run_id>.<random> and renamed to its place, so of several
        writers the first wins; only a process killed at this leaves that folder behind.
        """
        place = self.folder / str(step)
        taken = place.exists() and step not in self.points.damaged
        if from_all(np.array([taken]))[0, 0]:
            return
        token = from_all(np.random.default_rng().integers(2**31, size=1, dtype=np.int32))[0, 0]
        scratch = self.folder.with_name(f"{self.folder.name}.{self.config.run_id}.{token:08x}")
        written = Checkpoints(scratch, keep=None)
        written.save(step, params, opt_state, meta)
        written.close()
        if leads():
            if step in self.points.damaged:
                shutil.rmtree(place, ignore_errors=True)
            _rename_if_free(scratch / str(step), place)
            shutil.rmtree(scratch, ignore_errors=True)


def _rename_if_free(folder: Path, place: Path) -> None:
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # else somebody was first
            raise
    sync_folder(place.parent)
