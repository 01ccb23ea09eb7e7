"""One run of a pack: its folder and record, its checkpoints, the trunk it shares, and who asked for it."""

import json
import math
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

import models
from experiments.config import RunConfig
from experiments.fields import to_json
from experiments.files import write_atomic
from experiments.training import metrics
from experiments.training.checkpoint import Checkpoints
from experiments.training.compiled import Programs, State
from experiments.training.loss import predicted_tokens
from experiments.training.processes import leads
from experiments.training.shared_prefix import Trunk
from models import count

EXPLODED = 2.0  # times the loss of a uniform guess: from there no run comes back


class Hooks(Protocol):
    """How a run talks to whoever started it; nothing here changes the result. Called at every step."""

    def should_stop(self) -> bool:
        """Whether to save the state, of all runs that train together, and raise Stopped."""
        ...

    def lost(self) -> bool:
        """Whether the run is somebody else's now: nothing of it is written any more."""
        ...

    def progress(self, step: int, n_steps: int, tokens_per_second: float, loss: float) -> None: ...


class Member:
    """A run in training. What it leaves in its folder does not depend on the others of its pack."""

    def __init__(self, config: RunConfig, out: Path, hooks: Hooks, trunks: Path | None):
        self.config, self.out, self.hooks = config, out, hooks
        self.trains = True  # until it diverges, is lost, or ends
        out.mkdir(parents=True, exist_ok=True)
        if leads():
            write_atomic(out / "config.json", json.dumps(to_json(config), indent=1))
        self.checkpoints = Checkpoints(out / "checkpoints")
        self.trunk = Trunk(trunks, config) if trunks and config.trunk_key else None
        self.branch_step = config.branch_step if self.trunk else 0
        self.evaluate_at = metrics.eval_steps(config.n_steps, aligned=bool(config.trunk_key))

    def steps(self) -> set[int]:
        """Where it could start: at the beginning, at its own checkpoints, at points of its trunk."""
        return {0} | self.checkpoints.steps() | (self.trunk.steps() if self.trunk else set())

    def state_at(self, step: int, compiled: Programs) -> State:
        """Its state after this step, one of `steps()`.

        Raises:
          Unreadable: there is no whole one.
        """
        params, opt_state = compiled.init(jax.random.key(self.config.seed))
        self.meta: dict[str, Any] = {"recent": []}
        if step == 0:
            return params, opt_state
        own = step in self.checkpoints.steps()
        source = self.checkpoints if own or not self.trunk else self.trunk.points
        found = source.read(step, params=params, opt_state=opt_state, meta=None)
        self.meta = found["meta"] if own else found["meta"] | {"trunk_steps": step}
        return found["params"], found["opt_state"]

    def open(self, first_step: int) -> None:
        """Opens the record, to go on after the step whose state was read last."""
        each = self.config.batch_tokens
        scale = {
            "tokens": each,
            "flops": each * count(self.config.model).flops_per_token(self.config.seq_len),
        }
        path, n_steps = self.out / "metrics.jsonl", self.config.n_steps
        recent, lines = self.meta["recent"], self.meta.get("lines")
        writes = leads() and not self.hooks.lost()  # reading may have taken long
        self.record = metrics.Metrics(path, n_steps, scale, first_step, recent, lines, writes)
        self.trunk_steps = self.meta.get("trunk_steps", 0)

    def note(self, step: int, measured: dict[str, float], tokens_per_second: float) -> bool:
        """Records what the step measured; whether the run is still sound."""
        loss = measured.pop("loss")
        self.record.training(step, loss, **measured)
        self.hooks.progress(step, self.config.n_steps, tokens_per_second, loss)
        return loss < EXPLODED * math.log(self.config.model.vocab_size)  # false for NaN, too

    def evaluated(self, step: int, losses_R: np.ndarray, tokens_per_byte: float) -> None:
        """Records the validation loss."""
        n_predicted = predicted_tokens(models.build(self.config.model), self.config.seq_len)
        self.record.validation(step, losses_R, n_predicted, tokens_per_byte)

    def save(self, step: int, params: Any, opt_state: Any) -> None:
        """Starts writing a checkpoint."""
        self.record.sync()
        meta = {"step": step, "recent": self.record.recent, "trunk_steps": self.trunk_steps}
        self.checkpoints.save(step, params, opt_state, meta)

    def leave_point(self, step: int, params: Any, opt_state: Any) -> None:
        """Leaves its state to the other runs of its trunk."""
        assert self.trunk
        lines = metrics.read(self.out / "metrics.jsonl")
        meta = {"step": step, "recent": self.record.recent, "lines": lines}
        self.trunk.leave(step, params, opt_state, meta)

    def close(self) -> None:
        """Waits for what is being written; may be called again."""
        self.record.close()
        self.checkpoints.close()
        if self.trunk:
            self.trunk.points.close()
