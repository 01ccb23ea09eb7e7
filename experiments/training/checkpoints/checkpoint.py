"""Checkpoints of a run: asynchronous, whole or absent, and the newest that can be read wins."""

import contextlib
import copy
import logging
import sys
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

# orbax reports every save and every default it takes; a run's log has room for what matters.
logging.getLogger("absl").setLevel(logging.ERROR)

KEEP = 2


class Unreadable(Exception):
    """A checkpoint exists and is damaged."""


class Checkpoints:
    """A folder of checkpoints: parameters, optimizer state and a JSON object each."""

    def __init__(self, folder: Path, keep: int | None = KEEP):
        """Opens the folder, made if it is not there; the newest `keep` checkpoints (None: all) stay."""
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self.folder = folder
        self.damaged: set[int] = set()
        self.manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, step: int, params: Any, opt_state: Any, meta: dict[str, Any]) -> None:
        """Starts writing; all is copied before this returns: arrays may be donated, `meta` changed at once.

        A checkpoint of this step that is already there is kept: equal configurations write equal bits.

        Args:
          step: the step that the state is after.
          params: tree of arrays.
          opt_state: tree of arrays; None: there is none.
          meta: a JSON object.

        Raises:
          OSError: it was not written.
        """
        if step in self.damaged:
            self.manager.delete(step)
        elif step in self.manager.all_steps():
            return
        items = {
            "params": ocp.args.StandardSave(params),
            "meta": ocp.args.JsonSave(copy.deepcopy(meta)),  # orbax would read it later, in its own thread
        }
        if opt_state is not None:
            items["opt_state"] = ocp.args.StandardSave(opt_state)
        if not self.manager.save(step, args=ocp.args.Composite(**items), force=True):
            raise OSError(f"{self.folder}: the checkpoint of step {step} was not written")

    def steps(self) -> set[int]:
        """The steps of the checkpoints that are there."""
        return set(self.manager.all_steps())

    def drop(self, steps: set[int]) -> None:
        """Deletes the checkpoints of these steps; waits for one that is being written."""
        self.manager.wait_until_finished()
        for step in steps:
            self.manager.delete(step)

    def read(self, step: int, **like: Any) -> dict[str, Any]:
        """Items of one checkpoint: `read(step, params=…, opt_state=…, meta=None)`.

        Arrays come back in the shapes and shardings of the trees given.

        Raises:
          Unreadable: it is damaged or half-written, which is printed in one line; saving that step again
            replaces it.
        """
        items = {
            name: ocp.args.JsonRestore() if tree is None else ocp.args.StandardRestore(tree)
            for name, tree in like.items()
        }
        try:
            return dict(self.manager.restore(step, args=ocp.args.Composite(**items)).items())
        except Exception as error:  # a damaged file can make the reader raise anything
            reason = (str(error) or type(error).__name__).splitlines()[0][:100]
            message = f"{self.folder}/{step} cannot be read ({reason}); using the checkpoint before it"
            print(message, file=sys.stderr)
            self.damaged.add(step)
            raise Unreadable(message) from error

    def restore(self, **like: Any) -> dict[str, Any] | None:
        """Items of the newest readable checkpoint, as `read` gives them, or None."""
        for step in sorted(self.steps(), reverse=True):
            with contextlib.suppress(Unreadable):
                return self.read(step, **like)
        return None

    def wait(self) -> None:
        """Waits for what is being written."""
        self.manager.wait_until_finished()

    def close(self) -> None:
        """Waits for what is being written; nothing is written or read afterwards."""
        self.manager.close()


def newest_step(run: Path) -> int:
    """The step of the newest checkpoint in a run's folder, by its name alone; 0 if there is none."""
    names = (path.name for path in (run / "checkpoints").glob("[0-9]*"))
    return max((int(name) for name in names if name.isdecimal()), default=0)
