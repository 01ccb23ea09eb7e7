"""Training runs, from configuration to result: one at a time, or several of one shape as one program."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from experiments.config import RunConfig
from experiments.training.packed_run import Pack
from experiments.training.run_state import Hooks, Member
from models import sharding


class Stopped(Exception):
    """The runs were asked to stop; their state is saved and the same call continues them."""


class Lost(Exception):
    """The run is somebody else's now."""


def train(
    config: RunConfig, out: Path, hooks: Hooks, mesh: Mesh | None = None, trunks: Path | None = None
) -> dict[str, Any]:
    """Trains one run in the folder `out` and returns its row of the table of runs; for more see `train_pack`.

    Raises:
      Lost: hooks.lost() said so.
    """
    for _, row in train_pack([config], [out], [hooks], mesh, trunks):
        return row
    raise Lost


def train_pack(
    configs: Sequence[RunConfig],
    outs: Sequence[Path],
    hooks: Sequence[Hooks],
    mesh: Mesh | None = None,
    trunks: Path | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Trains runs of one `pack_key` together, each in its folder, as one program on one device; yields
    (index, row of the table of runs) of each when it ends. A run that diverges ends at once.

    Started again after any interruption, a run continues from its newest checkpoint (a pack from the newest
    that all have) and ends with the same bits in parameters and metrics. Writes config.json, metrics.jsonl
    and checkpoints/; the caller records the row. In a pack it writes what it would have written alone, to
    rounding, and may continue alone or in another pack; times in its row are its share of the pack's.

    On a mesh (`models.sharding`; default: one device) a single run is spread over devices, also over those of
    several processes, which must share the file system and all call this; it may continue on another mesh,
    then equal to rounding. Only process 0 writes.

    With a folder for `trunks`, runs of one `trunk_key` take over each other's steps before their decays, bit
    for bit (`experiments.training.shared_prefix`); "trunk_steps" in the row says how many.

    Raises:
      Stopped: the hooks of one run said so; the state of all is saved.
      ValueError: the data do not fit the configuration, the batch not the mesh, or a run not the others.
    """
    _check(configs, mesh)
    members = [Member(*run, trunks) for run in zip(configs, outs, hooks, strict=True)]
    pack = Pack(members, mesh)
    with contextlib.ExitStack() as closing:
        for member in members:
            closing.callback(member.close)
        evaluations = frozenset().union(*(member.evaluate_at for member in members))
        branches = frozenset(member.branch_step for member in members)
        # A step is dispatched before the one before it is read.
        for step in range(pack.first_step + 1, pack.n_steps + 1):
            with jax.transfer_guard("disallow"):
                pack.dispatch(step)
                fixed = step in evaluations or step in branches
                stop, save = pack.look(step, surely=fixed)
                pack.note(step if save or fixed else step - 1)
                if step in evaluations:
                    pack.evaluate(step)
                if step in branches:
                    pack.leave_points(step)
                if save:
                    pack.save(step)
            yield from pack.diverged()
            if not pack.training():
                return
            if stop and step < pack.n_steps:
                raise Stopped
        yield from pack.done()


def _check(configs: Sequence[RunConfig], mesh: Mesh | None) -> None:
    sharding.check_batch(configs[0].batch_size, mesh)
    if len(configs) > 1 and mesh is not None:
        raise ValueError(f"pack: {len(configs)} runs on a mesh; runs train together on one device only")
    if len({config.pack_key for config in configs}) > 1:
        ids = ", ".join(config.run_id for config in configs)
        raise ValueError(
            f"pack: runs {ids} differ in more than seed and the numbers of optimizer and schedule; "
            "only runs of one pack_key train together"
        )
