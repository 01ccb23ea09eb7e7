"""What one run keeps: its folder and record, its checkpoints, the prefix it shares, and who asked for it."""

import json
import math
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

import models
from experiments.config import RunConfig
from experiments.data.vocab import load_vocab
from experiments.fields import to_json
from experiments.files import write_atomic
from experiments.objective import Components
from experiments.training import metrics
from experiments.training.checkpoints.checkpoint import KEEP, Checkpoints
from experiments.training.checkpoints.shared_prefix import SharedPrefix
from experiments.training.compiled import Compiled, State
from experiments.training.loss import predicted_tokens
from experiments.training.processes import is_primary
from models import count, sharding

N_TEXTS = 4  # of the validation prompts, whose responses are recorded


class Hooks(Protocol):
    """How a run talks to whoever started it; nothing here changes the result. Called at every step."""

    def should_stop(self) -> bool:
        """Whether to save the state, of all runs that train together, and raise Stopped."""
        ...

    def lost(self) -> bool:
        """Whether the run is somebody else's now: nothing of it is written any more."""
        ...

    def progress(self, step: int, n_steps: int, tokens_per_second: float, loss: float) -> None:
        """Called after each step.

        Args:
          step: steps made, from 1.
          n_steps: steps of the whole run.
          tokens_per_second: speed since training began here.
          loss: training loss of the step, nats per token.
        """
        ...


class RunState:
    """A run in training. What it leaves in its folder does not depend on runs that train with it."""

    def __init__(
        self, config: RunConfig, out: Path, hooks: Hooks, compiled: Compiled, shared_prefixes: Path | None
    ):
        """Writes config.json and opens the folder's checkpoints; reads none.

        Args:
          config: the run.
          out: its folder, made if it is not there.
          hooks: whoever started it.
          compiled: the functions of its shape.
          shared_prefixes: folder of branch checkpoints of all prefixes; None: shares none.
        """
        self.config, self.out, self.hooks, self.compiled = config, out, hooks, compiled
        self.active = True  # until it diverges, is lost, or ends
        out.mkdir(parents=True, exist_ok=True)
        if is_primary():
            write_atomic(out / "config.json", json.dumps(to_json(config), indent=1))
        self.patience: int = getattr(config.objective, "patience", 0)
        self.checkpoints = Checkpoints(out / "checkpoints", None if self.patience else KEEP)
        self.shared_prefix = None
        if shared_prefixes and config.prefix_key:
            self.shared_prefix = SharedPrefix(shared_prefixes, config)
        self.branch_step = config.branch_step if self.shared_prefix else 0
        self.evaluation_steps = metrics.eval_steps(config.n_steps, aligned=bool(config.prefix_key))
        if self.patience:
            self.evaluation_steps = metrics.even_steps(config.n_steps, metrics.EVALUATIONS)
        samples = hasattr(config.objective, "max_new")
        self.recorded = metrics.even_steps(config.n_steps, metrics.ROLLOUT_EVENTS if samples else 1)

    def available_steps(self) -> set[int]:
        """Where it could start: at the beginning, at its own checkpoints, at branch checkpoints."""
        branches = self.shared_prefix.steps() if self.shared_prefix else set()
        return {0} | self.checkpoints.steps() | branches

    def restore(self, step: int, network: Any, kept: Any = None) -> State:
        """Its state after this step, one of `available_steps()`; `network` is what it started from, or None,
        `kept` the optimizer's state there, None for an empty one.

        Raises:
          Unreadable: there is no whole one.
        """
        params, opt_state = self.compiled.init(jax.random.key(self.config.seed), network)
        self.meta: dict[str, Any] = {"recent": []}
        if step == 0:
            return params, opt_state if kept is None else sharding.like(kept, opt_state)
        own = step in self.checkpoints.steps()
        source = self.checkpoints if own or not self.shared_prefix else self.shared_prefix.checkpoints
        found = source.read(step, params=params, opt_state=opt_state, meta=None)
        self.meta = found["meta"] if own else found["meta"] | {"trunk_steps": step}
        return found["params"], found["opt_state"]

    def open_record(self, first_step: int) -> None:
        """Opens the record, to go on after the step that was restored last."""
        n_tokens = self.config.batch_tokens
        passes = self.compiled.objective.cost
        flops = n_tokens * count(self.config.model).flops_per_token(self.config.seq_len)
        flops = flops if passes == 1 else round(flops * passes)
        per_step = {"tokens": n_tokens, "flops": flops}
        path, n_steps = self.out / "metrics.jsonl", self.config.n_steps
        recent, lines = self.meta["recent"], self.meta.get("lines")
        writes = is_primary() and not self.hooks.lost()  # reading may have taken long
        self.record = metrics.Metrics(
            path, n_steps, per_step, first_step, recent, lines, writes, self.recorded
        )
        self.prefix_steps = self.meta.get("trunk_steps", 0)

    def record_step(self, step: int, measured: dict[str, float], tokens_per_second: float) -> bool:
        """Records what a step measured; False if the run has diverged."""
        limits = self.compiled.objective.limits
        within = all(measured[name] < limit for name, limit in limits.items())  # false for NaN, too
        loss = measured.pop("loss")
        self.record.training(step, loss, ends=not within, **measured)
        self.hooks.progress(step, self.config.n_steps, tokens_per_second, loss)
        return within and math.isfinite(loss)

    def record_validation(
        self,
        step: int,
        measured_R: dict[str, np.ndarray],
        tokens_per_byte: float,
        texts: dict[str, np.ndarray],
        components: Components | None = None,
    ) -> None:
        """Records the validation loss, what else was measured of each row, and the first texts.

        Args:
          step: the step that was made last, from 1.
          measured_R: float[R] by name.
          tokens_per_byte: of the validation text; 0 where the loss is not one of text.
          texts: of `Objective.measure`; may be empty.
          components: of mixed data.
        """
        n_predicted = predicted_tokens(models.build(self.config.model), self.config.seq_len)
        said = self._decoded(texts)
        self.record.validation(step, measured_R, n_predicted, tokens_per_byte, said, components)

    def _decoded(self, texts: dict[str, np.ndarray]) -> list[dict[str, str]]:
        if not texts:
            return []
        vocab = load_vocab(self.config.data)
        rows = zip(texts["tokens"][:N_TEXTS], texts["prompt_lengths"], texts["lengths"])
        return [
            {"prompt": vocab.decode(tokens[:start]), "response": vocab.decode(tokens[start:end])}
            for tokens, start, end in rows
        ]

    def save_checkpoint(self, step: int, params: Any, opt_state: Any) -> None:
        """Starts writing a checkpoint. A run that may stop early keeps that of its best evaluation, too."""
        self.record.mend()
        self.record.sync()
        meta = self._meta(step) | {"trunk_steps": self.prefix_steps}
        self.checkpoints.save(step, params, opt_state, meta)
        if self.patience:
            self.checkpoints.drop(self.checkpoints.steps() - {step, self.best_step})

    @property
    def best_step(self) -> int:
        """The step of the lowest validation loss so far; 0 before the first."""
        return (metrics.best(self.record.evaluations) or {"step": 0})["step"]

    def is_over(self) -> bool:
        """Whether its validation loss has not been lower for as long as it has patience."""
        return metrics.is_over(self.record.evaluations, self.patience)

    def end(self) -> None:
        """Closes a run that has come to its end; of one that may stop early, its best checkpoint is left."""
        if self.patience:
            self.checkpoints.drop(self.checkpoints.steps() - {self.best_step})
        self.record.mend()
        self.close()

    def save_branch_checkpoint(self, step: int, params: Any, opt_state: Any) -> None:
        """Saves its state for the other runs of its prefix."""
        assert self.shared_prefix
        self.checkpoints.wait()  # orbax's barriers have one name for all folders: one save at a time
        self.shared_prefix.save(step, params, opt_state, self._meta(step))

    def _meta(self, step: int) -> dict[str, Any]:
        return {"step": step, "recent": [*self.record.recent], "lines": [*self.record.lines]}

    def close(self) -> None:
        """Waits for what is being written; may be called again."""
        self.record.close()
        self.checkpoints.close()
        if self.shared_prefix:
            self.shared_prefix.checkpoints.close()
