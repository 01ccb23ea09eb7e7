"""Runs that train together: their common state on the devices, and what is done for each of them."""

import contextlib
import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.config import DataConfig, RunConfig
from experiments.data import batches
from experiments.data.cache import TokenCache, open_cache
from experiments.data.prepare import prepare
from experiments.training import optim
from experiments.training.checkpoint import Unreadable
from experiments.training.compiled import State, programs
from experiments.training.processes import from_all
from experiments.training.result import result
from experiments.training.run_state import Member
from models import sharding

CHECKPOINT_SECONDS = 60.0
LOOK_SECONDS = 0.5  # between two agreements of processes that train a run together


class Pack:
    """The members, all after the same step; the first one's configuration says what is equal for all."""

    def __init__(self, members: list[Member], mesh: Mesh | None):
        """Takes up the newest step whose state every run has; compiles nothing.

        Raises:
          ValueError: the data do not fit the configuration.
        """
        self.clock, self.members, self.mesh = Clock(), members, mesh
        self.config = config = members[0].config
        self.n_steps = config.n_steps
        self.tokens, validation = open_splits(config.data)
        rows = validation_batches(config, validation.tokens)
        self.validation_rows = [sharding.put(each, mesh, ("batch", "length")) for each in rows]
        self.tokens_per_byte = len(validation.tokens) / validation.n_bytes
        names = config.optimizer.name, config.schedule.name
        self.compiled = programs(config.model, *names, mesh, len(members))
        hypers = [optim.hyperparameters(member.config) for member in members]
        hyper = jax.tree.map(lambda *numbers: np.stack(numbers), *hypers) if members[1:] else hypers[0]
        self.hyper = {name: sharding.put(number, mesh) for name, number in hyper.items()}
        self.first_step = self._take_up()
        self.device_step = sharding.put(np.int32(self.first_step), mesh)
        self.unread: dict[int, dict[str, jax.Array]] = {}  # what steps measured
        self.exploded: list[int] = []  # members whose row is due
        self.next_look = 0
        self.saved_at = self.running_since = time.perf_counter()
        self.clock.lap("start")

    def _take_up(self) -> int:
        """Reads the newest state that all members have; that of step 0 needs no file."""
        steps = set.intersection(*(member.steps() for member in self.members))
        while True:
            step = int(from_all(np.array([max(steps)]))[0, 0])  # files may come to light here and there
            state: Any = None
            with contextlib.suppress(Unreadable):
                state = self.compiled.join(m.state_at(step, self.compiled) for m in self.members)
            if from_all(np.array([state is not None])).all():
                break
            steps.discard(step)
        self.state: State = state if self.mesh else jax.tree.map(lambda x: sharding.put(x, None), state)
        for member in self.members:
            member.open(step)
        return step

    def training(self) -> list[tuple[int, Member]]:
        """The members that go on, with their places."""
        return [(i, member) for i, member in enumerate(self.members) if member.trains]

    def dispatch(self, step: int) -> None:
        """Sets the devices to work on a step."""
        params, opt_state, self.device_step, numbers = self.compiled.step(
            *self.state, self.device_step, self._tokens(step), self.hyper
        )
        self.state, self.unread[step] = (params, opt_state), numbers
        if step == self.first_step + 1:
            jax.block_until_ready(numbers)
            self.clock.lap("compile")
            self.running_since = self.clock.mark

    def _tokens(self, step: int) -> jax.Array:
        """Tokens [B,T+1] of one run, [K,B,T+1] of several; a process reads the rows that its devices hold."""
        size, seq_len = self.config.batch_size, self.config.seq_len

        def read(seed: int, rows: slice = slice(None)) -> np.ndarray:
            return batches.batch(self.tokens.tokens, seed, step - 1, size, seq_len, rows)

        seeds = [member.config.seed for member in self.members]
        if len(seeds) == 1:
            shape = (size, seq_len + 1)
            return sharding.put_rows(functools.partial(read, seeds[0]), shape, self.mesh, ("batch", "length"))
        by_seed = {seed: read(seed) for seed in set(seeds)}
        return sharding.put(np.stack([by_seed[seed] for seed in seeds]), self.mesh)

    def look(self, step: int, surely: bool) -> tuple[bool, bool]:
        """Whether to stop and whether to save after this step; leaves the members that are lost.

        Every process decides the same. Where there are several, only at some steps: `surely` at this one.
        """
        if step < self.next_look and not surely:
            return False, False
        if jax.process_count() > 1:
            # Agreeing is a message between devices, as steps have them; on CPUs two at once get mixed up.
            jax.block_until_ready(self.device_step)
        now, training = time.perf_counter(), self.training()
        stop = any(member.hooks.should_stop() for _, member in training)
        late = now - self.saved_at > CHECKPOINT_SECONDS
        so_far = step - self.first_step - 1
        pace = so_far / max(now - self.running_since, 1e-9)
        wait = 1 if jax.process_count() == 1 else max(1, round(min(LOOK_SECONDS * pace, so_far)))
        lost = [member.hooks.lost() for _, member in training]
        said = from_all(np.array([stop, late, wait, *lost], np.int32))
        for i, (_, member) in enumerate(training):
            member.trains = not said[:, 3 + i].any()
        self.next_look = step + int(said[0, 2])
        stop = bool(said[:, 0].any())
        return stop, stop or bool(said[0, 1]) or step == self.n_steps

    def note(self, until: int) -> None:
        """Reads what the steps until this one measured and tells the members; some diverge."""
        for step in sorted(step for step in self.unread if step <= until):
            measured = {name: np.atleast_1d(x) for name, x in jax.device_get(self.unread.pop(step)).items()}
            trained = (step - self.first_step - 1) * self.config.batch_tokens
            speed = trained / max(time.perf_counter() - self.running_since, 1e-9)
            for i, member in self.training():
                if not member.note(step, {name: float(x[i]) for name, x in measured.items()}, speed):
                    member.trains = False
                    self.exploded.append(i)
        self.clock.lap("train")

    def evaluate(self, step: int) -> None:
        """Measures the validation loss of the members that are due."""
        due = [(i, member) for i, member in self.training() if step in member.evaluate_at]
        if not due:
            return
        # An eighth of the rows shows the curve; the end counts and reads them all.
        n = len(self.validation_rows) if step == self.n_steps else -(-len(self.validation_rows) // 8)
        rows = self.validation_rows[:n]
        losses = [jax.device_get(self.compiled.row_losses(self.state[0], each)) for each in rows]
        losses_KR = np.concatenate([np.atleast_2d(x) for x in losses], axis=1)
        for i, member in due:
            member.evaluated(step, losses_KR[i], self.tokens_per_byte)
        self.clock.lap("evaluate")

    def save(self, step: int) -> None:
        """Starts writing checkpoints."""
        for i, member in self.training():
            member.save(step, *self.compiled.split(self.state, i))
        self.saved_at = time.perf_counter()
        self.clock.lap("checkpoint")

    def leave_points(self, step: int) -> None:
        """Leaves the states of the members that branch off here to the other runs of their trunks."""
        for i, member in self.training():
            if step == member.branch_step:
                member.leave_point(step, *self.compiled.split(self.state, i))
        self.clock.lap("checkpoint")

    def diverged(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows, with places, of members that have diverged and whose row has not been given yet."""
        while self.exploded:
            yield self._row(self.exploded.pop(0))

    def done(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows, with places, of the members that have come to their end."""
        for _, member in self.training():
            member.close()
        self.clock.lap("checkpoint")
        for i, _ in self.training():
            yield self._row(i)

    def _row(self, i: int) -> tuple[int, dict[str, Any]]:
        member, n_packed = self.members[i], len(self.members)
        member.close()
        share = {name: seconds / n_packed for name, seconds in self.clock.seconds.items()}
        row = result(member.config, self.tokens, member.record.last, self.first_step, share)
        n_devices = self.mesh.size if self.mesh else 1
        return i, row | {"n_devices": n_devices, "n_packed": n_packed, "trunk_steps": member.trunk_steps}


class Clock:
    """Seconds by what they were spent on."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.mark = time.perf_counter()

    def lap(self, name: str) -> None:
        """Books the time since the last lap under `name`."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.mark
        self.mark = now


def open_splits(data: DataConfig) -> tuple[TokenCache, TokenCache]:
    """Training and validation split, prepared if they are not there yet; raises as `prepare` does."""
    folder = prepare(data)
    return open_cache(folder, "train"), open_cache(folder, "validation")


def validation_batches(config: RunConfig, tokens: np.ndarray) -> list[np.ndarray]:
    """The leading rows of the validation split, int32[B, T+1] each; rows that fill no batch are left out."""
    n_windows = min(batches.count_windows(len(tokens), config.seq_len), config.n_val_tokens // config.seq_len)
    size = config.batch_size if n_windows >= config.batch_size else n_windows
    if n_windows < 2:
        raise ValueError(
            f"run: n_val_tokens={config.n_val_tokens} of {len(tokens)} validation tokens make "
            f"{n_windows} rows of seq_len={config.seq_len}; a loss with a standard error needs two"
        )
    starts = range(0, n_windows - size + 1, size)
    return [batches.cut(tokens, np.arange(start, start + size), config.seq_len) for start in starts]
