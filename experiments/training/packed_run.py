"""Runs that train as one program: what they do together, after each step, and what is done for each of them.

A single run is a packed run of one.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.objective import RunData
from experiments.training import metrics
from experiments.training.checkpoints.checkpoint import Unreadable
from experiments.training.compiled import Compiled, State
from experiments.training.processes import all_gather
from experiments.training.result import result_row
from experiments.training.run_state import RunState
from models import sharding

CHECKPOINT_SECONDS = 60.0
POLL_SECONDS = 0.5  # between two agreements of processes that train a run together


class Clock:
    """Wall seconds by what they were spent on."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.last_lap = time.perf_counter()

    def lap(self, name: str) -> None:
        """Adds the time since the last lap to `name`."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last_lap
        self.last_lap = now


class PackedRun:
    """K runs, all after the same step; the configuration of the first stands for what is equal for all."""

    def __init__(
        self,
        runs: list[RunState],
        compiled: Compiled,
        data: RunData,
        clock: Clock,
        mesh: Mesh | None,
    ):
        """Compiles and reads nothing.

        Args:
          runs: K of one `pack_key`.
          compiled: the functions of K runs.
          data: what the runs train on.
          clock: has run since the runs began.
          mesh: devices that a single run is spread over; None: one device.
        """
        self.runs, self.compiled, self.data, self.clock, self.mesh = runs, compiled, data, clock, mesh
        self.config, self.n_steps = runs[0].config, runs[0].config.n_steps
        self.evaluation_steps = frozenset().union(*(run.evaluation_steps for run in runs))
        self.branch_steps = frozenset(run.branch_step for run in runs)
        self.unread: dict[int, dict[str, jax.Array]] = {}  # what steps measured, by step, on the devices
        self.ended: list[int] = []  # indices of runs that diverged or stopped early, whose row is due
        self.next_poll = 0

    def restore_newest(self, network: Any, kept: Any = None) -> State:
        """Parameters and optimizer state, on the devices, after `first_step`: the newest step whose state all
        runs have; that of step 0 needs no file. `network`: what they started from, or None; `kept`: the
        optimizer's state there, if it is kept."""
        steps = set.intersection(*(run.available_steps() for run in self.runs))
        while True:
            step = int(all_gather(np.array([max(steps)]))[0, 0])  # processes may see files at different times
            state: Any = None
            with contextlib.suppress(Unreadable):
                state = self.compiled.stack(run.restore(step, network, kept) for run in self.runs)
            if all_gather(np.array([state is not None])).all():
                break
            steps.discard(step)
        for run in self.runs:
            run.open_record(step)
        self.first_step = step
        self.saved_at = self.steps_began = time.perf_counter()
        return state if self.mesh else jax.tree.map(lambda x: sharding.put(x, None), state)

    def active(self) -> list[tuple[int, RunState]]:
        """The runs that go on, with their indices."""
        return [(i, run) for i, run in enumerate(self.runs) if run.active]

    def dispatched(self, step: int, measured: dict[str, jax.Array]) -> None:
        """Notes what a step, at which the devices may still be, will have measured."""
        self.unread[step] = measured
        if step == self.first_step + 1:
            jax.block_until_ready(measured)
            self.clock.lap("compile")
            self.steps_began = self.clock.last_lap

    def poll(self, step: int, device_step: jax.Array, force: bool) -> tuple[bool, bool]:
        """Whether to stop and whether to save after this step; drops the runs that are lost.

        Every process decides the same. Where there are several, they agree at some steps only.

        Args:
          step: the step that was dispatched last.
          device_step: its number on the devices, ready when it is done.
          force: agree at this step in any case.
        """
        if step < self.next_poll and not force:
            return False, False
        if jax.process_count() > 1:
            # Agreeing is a message between devices, as steps have them; on CPUs two at once get mixed up.
            jax.block_until_ready(device_step)
        now, active = time.perf_counter(), self.active()
        stop = any(run.hooks.should_stop() for _, run in active)
        save_due = now - self.saved_at > CHECKPOINT_SECONDS
        n_done = step - self.first_step - 1
        steps_per_second = n_done / max(now - self.steps_began, 1e-9)
        wait = max(1, round(min(POLL_SECONDS * steps_per_second, n_done))) if jax.process_count() > 1 else 1
        lost = [run.hooks.lost() for _, run in active]
        votes = all_gather(np.array([stop, save_due, wait, *lost], np.int32))
        for i, (_, run) in enumerate(active):
            run.active = not votes[:, 3 + i].any()
        self.next_poll = step + int(votes[0, 2])
        stop = bool(votes[:, 0].any())
        return stop, stop or bool(votes[0, 1]) or step == self.n_steps

    def record(self, until: int) -> None:
        """Reads what the steps up to this one measured into each run's record; some runs diverge."""
        for step in sorted(step for step in self.unread if step <= until):
            measured = {name: np.atleast_1d(x) for name, x in jax.device_get(self.unread.pop(step)).items()}
            n_tokens = (step - self.first_step - 1) * self.config.batch_tokens
            tokens_per_second = n_tokens / max(time.perf_counter() - self.steps_began, 1e-9)
            for i, run in self.active():
                mine = {name: float(x[i]) for name, x in measured.items()}
                if not run.record_step(step, mine, tokens_per_second):
                    run.active = False
                    self.ended.append(i)
        self.clock.lap("train")

    def evaluates(self, step: int) -> bool:
        """Whether a run that goes on measures its validation loss after this step."""
        return any(step in run.evaluation_steps for _, run in self.active())

    def record_validation(
        self, step: int, measured_KR: dict[str, np.ndarray], texts: dict[str, np.ndarray]
    ) -> None:
        """Records the validation loss, what else was measured of each row, and texts [K,B,…], if there are
        any, of the runs that are due."""
        for i, run in self.active():
            if step in run.evaluation_steps:
                measured_R = {name: each[i] for name, each in measured_KR.items()}
                own_texts = {name: array[i] for name, array in texts.items()}
                data = self.data
                run.record_validation(step, measured_R, data.tokens_per_byte, own_texts, data.components)
                if run.is_over() and step < self.n_steps:
                    run.end()
                    run.active = False
                    self.ended.append(i)
        self.clock.lap("evaluate")

    def save_branch_checkpoints(self, step: int, params: Any, opt_state: Any) -> None:
        """Saves the states of the runs that branch off here for the other runs of their prefix."""
        for i, run in self.active():
            if step == run.branch_step:
                run.save_branch_checkpoint(step, *self.compiled.unstack((params, opt_state), i))
        self.clock.lap("checkpoint")

    def save_checkpoints(self, step: int, params: Any, opt_state: Any) -> None:
        """Starts writing a checkpoint of each run."""
        for i, run in self.active():
            run.save_checkpoint(step, *self.compiled.unstack((params, opt_state), i))
        self.saved_at = time.perf_counter()
        self.clock.lap("checkpoint")

    def improved(self, step: int) -> bool:
        """Whether a run that may stop early has its best evaluation at this step, and should be saved."""
        return any(run.patience and run.best_step == step for _, run in self.active())

    def ended_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows, with indices, of runs that ended before their last step and whose row was not given yet."""
        while self.ended:
            yield self._row(self.ended.pop(0))

    def final_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows, with indices, of the runs that have come to their end."""
        for _, run in self.active():
            run.end()
        self.clock.lap("checkpoint")
        for i, _ in self.active():
            yield self._row(i)

    def _row(self, i: int) -> tuple[int, dict[str, Any]]:
        run, n_packed = self.runs[i], len(self.runs)
        over = bool(run.patience) and (run.is_over() or run.active)
        run.close()
        share = {name: seconds / n_packed for name, seconds in self.clock.seconds.items()}
        kept = metrics.best(run.record.evaluations) if over else None
        row = result_row(run.config, self.data, run.record.last, self.first_step, share, kept)
        n_devices = self.mesh.size if self.mesh else 1
        return i, row | {"n_devices": n_devices, "n_packed": n_packed, "trunk_steps": run.prefix_steps}
