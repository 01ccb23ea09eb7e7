"""Checkpoints of a run: asynchronous, whole or absent, and the newest that can be read wins.

Each has a file of the hashes of all its files, written when they are whole and checked when they are read:
a flipped byte would otherwise be a wrong parameter that nobody notices. Earlier checkpoints have none.
"""

import contextlib
import copy
import hashlib
import logging
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from experiments.files import read_json, write_json
from experiments.training.processes import is_primary

# orbax reports every save and every default it takes; a run's log has room for what matters.
logging.getLogger("absl").setLevel(logging.ERROR)

KEEP = 2
HASHES = "sha256.json"
UNNAMED = "*.orbax-checkpoint-tmp"  # what orbax calls a checkpoint that is not whole yet


class Unreadable(Exception):
    """A checkpoint exists and is damaged."""


class Checkpoints:
    """A folder of checkpoints: parameters, optimizer state and a JSON object each."""

    def __init__(self, folder: Path, keep: int | None = KEEP):
        """Opens the folder, made if it is not there; the newest `keep` checkpoints (None: all) stay."""
        self.folder = folder
        self.damaged: set[int] = set()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=True,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._write_hashes),
        )
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
            _check_hashes(self.folder / str(step), like)
            return dict(self.manager.restore(step, args=ocp.args.Composite(**items)).items())
        except Exception as error:  # a damaged file can make the reader raise anything
            reason = (str(error) or type(error).__name__).splitlines()[0][:100]
            message = f"{self.folder}/{step} cannot be read ({reason}); using the checkpoint before it"
            print(message, file=sys.stderr)
            self.damaged.add(step)
            raise Unreadable(message) from error

    def _write_hashes(self) -> None:
        """In orbax's own thread, of the checkpoint that is about to get its name."""
        if is_primary():
            for step in self.folder.glob(UNNAMED):
                write_json(step / HASHES, _hashes(step, [item.name for item in step.iterdir()]))

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


def _hashes(step: Path, items: Collection[str]) -> dict[str, str]:
    """sha256 by name of all files of these items of a checkpoint."""
    files = sorted(file for item in items for file in (step / item).rglob("*") if file.is_file())
    found = {}
    for file in files:
        with open(file, "rb") as content:
            found[str(file.relative_to(step))] = hashlib.file_digest(content, "sha256").hexdigest()
    return found


def _check_hashes(step: Path, items: Collection[str]) -> None:
    if not (step / HASHES).is_file():
        return
    written, found = read_json(step / HASHES), _hashes(step, items)
    expected = {name: digest for name, digest in written.items() if Path(name).parts[0] in items}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(f"{name} is not as it was written")


def newest_step(run: Path) -> int:
    """The step of the newest checkpoint in a run's folder, by its name alone; 0 if there is none."""
    names = (path.name for path in (run / "checkpoints").glob("[0-9]*"))
    return max((int(name) for name in names if name.isdecimal()), default=0)
