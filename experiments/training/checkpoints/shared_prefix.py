"""Shared prefixes: states that runs with the same first steps leave each other where their decays branch off.

Under warm-up, constant rate and decay (wsd), runs that differ only in length and decay take the same steps
until the shortest decays (`RunConfig.prefix_key`): the longer ones start from its branch checkpoint.
"""

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config import RunConfig
from experiments.files import sync_folder
from experiments.training.checkpoints.checkpoint import Checkpoints
from experiments.training.processes import all_gather, is_primary


class SharedPrefix:
    """The branch checkpoints of a run's prefix under `<root>/<prefix_key>/<step>`, each whole or absent.

    A branch checkpoint's JSON also has the lines of the record so far: what a run finds there is to the bit
    what it would have computed.
    """

    def __init__(self, root: Path, config: RunConfig):
        """Opens the folder of the prefix of `config` under `root`, the folder of all prefixes."""
        self.folder, self.config = root / config.prefix_key, config
        self.checkpoints = Checkpoints(self.folder, keep=None)

    def steps(self) -> set[int]:
        """The steps of the branch checkpoints that the run can start from."""
        return {step for step in self.checkpoints.steps() if step <= self.config.branch_step}

    def save(self, step: int, params: Any, opt_state: Any, meta: dict[str, Any]) -> None:
        """Saves a branch checkpoint, unless there is one that can be read; waits until it is written.

        It is written to a folder <prefix_key>.<run_id>.<random> and renamed to its place, so of several
        writers the first wins; only a process killed at this leaves that folder behind.

        Args:
          step: the step that the state is after.
          params: the run's parameters.
          opt_state: the optimizer's state.
          meta: a JSON object with the record so far.
        """
        place = self.folder / str(step)
        taken = place.exists() and step not in self.checkpoints.damaged
        if all_gather(np.array([taken]))[0, 0]:
            return
        token = all_gather(np.random.default_rng().integers(2**31, size=1, dtype=np.int32))[0, 0]
        scratch = self.folder.with_name(f"{self.folder.name}.{self.config.run_id}.{token:08x}")
        written = Checkpoints(scratch, keep=None)
        written.save(step, params, opt_state, meta)
        written.close()
        if is_primary():
            if step in self.checkpoints.damaged:
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
