"""The metrics of a run while it trains: one JSON line an event, the same bytes however often it resumed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from experiments.files import write_atomic

if TYPE_CHECKING:
    from experiments.objective import Components  # which imports jax: those who watch runs do without

EVENTS_PER_DOUBLING = 4
EVALUATIONS = 16  # of a run that may stop early
ROLLOUT_EVENTS = 512  # of a run whose steps sample responses: what one measures is noisy, and its step long


class Metrics:
    """`metrics.jsonl` of one run.

    Lines carry no times, so a resumed run's file equals an uninterrupted one's. Training loss is the mean
    since the line before; those losses (`recent`) and all `lines` are part of a checkpoint, from which a run
    goes on whatever became of the file.
    """

    def __init__(
        self,
        path: Path,
        n_steps: int,
        per_step: dict[str, int],
        after_step: int,
        recent: list[float],
        lines: list[dict[str, Any]] | None = None,
        writes: bool = True,
        also_at: frozenset[int] = frozenset(),
    ):
        """Opens the file to go on after `after_step`; lines of later steps will be written again.

        Args:
          path: the file; need not be there.
          n_steps: steps of the whole run.
          per_step: what one step adds to a line's position besides 1: {"tokens": …, "flops": …}.
          after_step: the step whose state was restored; 0 at the beginning.
          recent: training losses, nats per token, since the last line.
          lines: what the file shall hold up to `after_step`, if not what it holds.
          writes: False in all but one of the processes that train a run together.
          also_at: steps that have a line besides the log-spaced ones.
        """
        self.lines = [line for line in (read(path) if lines is None else lines) if line["step"] <= after_step]
        self.path = path
        self.file = self._written_anew() if writes else None
        self.per_step, self.recent, self.log_at = per_step, recent, log_steps(n_steps) | also_at

    @property
    def last(self) -> dict[str, Any]:
        """The last line; {} before the first."""
        return self.lines[-1] if self.lines else {}

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The lines with a validation loss."""
        return [line for line in self.lines if "val_loss" in line]

    def training(self, step: int, loss: float, ends: bool = False, **measured: float) -> None:
        """Adds what step number `step` (from 1) measured; writes a line at log-spaced steps, and the last."""
        self.recent.append(loss)
        if step in self.log_at or ends or not math.isfinite(loss):
            mean = sum(self.recent) / len(self.recent)
            self._write(step, train_loss=mean, **measured)
            self.recent.clear()

    def validation(
        self,
        step: int,
        measured_R: dict[str, np.ndarray],
        row_tokens: int,
        tokens_per_byte: float,
        texts: Sequence[dict[str, str]] = (),
        components: Components | None = None,
    ) -> None:
        """Writes what was measured on validation rows: means by weight, and the loss's standard error, which
        takes rows as independent.

        Of mixed data the loss is the mean of the components' losses, which have equally many rows, its error
        is that within them, and bits per byte are the mean of the components', too.

        Args:
          step: the step that was made last, from 1.
          measured_R: float[R] by name: "loss" and others, and "weight" where rows do not all weigh the same.
          row_tokens: predicted tokens of a row.
          tokens_per_byte: of the validation text; 0 where the loss is not one of text.
          texts: {"prompt", "response"} each, what the model said.
          components: of mixed data.
        """
        measured_R = dict(measured_R)
        weight_R, losses_R = measured_R.pop("weight", None), measured_R.pop("loss")
        n_rows = len(losses_R)
        if weight_R is None:
            loss, se = float(losses_R.mean()), float(losses_R.std(ddof=1) / math.sqrt(n_rows))
        else:
            share_R = weight_R / weight_R.sum()
            loss = float(share_R @ losses_R)
            spread = np.square(share_R * (losses_R - loss)).sum()  # of a ratio of means, Cochran 1977, 6.13
            se = math.sqrt(spread * n_rows / (n_rows - 1))
        others: dict[str, Any] = {
            f"val_{name}": float(np.average(each_R, weights=weight_R)) for name, each_R in measured_R.items()
        }
        if tokens_per_byte:
            others["val_bits_per_byte"] = loss / math.log(2) * tokens_per_byte
            others["val_tokens"] = n_rows * row_tokens
        if components:
            se, of_components = component_losses(losses_R, components)
            others |= of_components
        if texts:
            others["texts"] = list(texts)
        self._write(step, val_loss=loss, val_loss_se=se, **others)

    def _write(self, step: int, **numbers: Any) -> None:
        position = {name: step * each for name, each in self.per_step.items()}
        self.lines.append({"step": step, **position, **numbers})
        if self.file:
            self.file.write(json.dumps(self.last) + "\n")
            self.file.flush()

    def mend(self) -> None:
        """Writes the file anew if it does not hold the lines: somebody removed or cut it, or a worker that$
        had been frozen and lost this run wrote to it."""
        if self.file and not (self.path.exists() and self.path.read_bytes() == self._text().encode()):
            self.file.close()
            self.file = self._written_anew()

    def _written_anew(self) -> TextIO:
        write_atomic(self.path, self._text())
        return open(self.path, "a")

    def _text(self) -> str:
        return "".join(json.dumps(line) + "\n" for line in self.lines)

    def sync(self) -> None:
        """Flushes to disk what was written; due before a checkpoint that builds on it."""
        if self.file and not self.file.closed:
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Flushes and closes the file; may be called again."""
        self.sync()
        if self.file:
            self.file.close()


def component_losses(losses_R: np.ndarray, components: Components) -> tuple[float, dict[str, float]]:
    """The standard error of the mean of the components' losses, whose rows take turns in float[R]; and loss
    and bits per byte of each, with the mean of the latter."""
    losses_NK = losses_R.reshape(-1, len(components.names))
    se = math.sqrt((losses_NK.var(axis=0, ddof=1) / len(losses_NK)).sum()) / len(components.names)
    loss_K = losses_NK.mean(axis=0)
    bits_K = loss_K / math.log(2) * np.array(components.tokens_per_byte)
    measured = {"val_bits_per_byte": float(bits_K.mean())}
    for name, loss, bits in zip(components.names, loss_K.tolist(), bits_K.tolist()):
        measured |= {f"val_loss_{name}": loss, f"val_bits_per_byte_{name}": bits}
    return se, measured


def read(path: Path) -> list[dict[str, Any]]:
    """Events of a run; a last line that was cut off by a crash is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def log_steps(n_steps: int) -> frozenset[int]:
    """Steps after which training loss is recorded: evenly spaced in the logarithm, and the last."""
    n_events = int(math.log2(n_steps) * EVENTS_PER_DOUBLING)
    return frozenset({round(2 ** (i / EVENTS_PER_DOUBLING)) for i in range(n_events + 1)} | {n_steps})


def eval_steps(n_steps: int, aligned: bool = False) -> frozenset[int]:
    """Steps after which validation loss is measured: the end of the run, half of it, half of that, …

    Aligned, for runs that share a prefix: the end, and the powers of two, which are the same for all lengths.
    """
    if aligned:
        return frozenset(2**i for i in range(n_steps.bit_length())) | {n_steps}
    return frozenset(n_steps >> i for i in range(7)) - {0}


def even_steps(n_steps: int, most: int) -> frozenset[int]:
    """At most so many steps of a run, evenly spaced, the last among them."""
    n = min(n_steps, most)
    return frozenset(round(n_steps * i / n) for i in range(1, n + 1))


def best(evaluations: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The line with the lowest "val_loss", the first of equals; None where there is none.

    With `is_over` all that early stopping decides by: the record alone, so a run that was interrupted decides
    the same.
    """
    numbers = [line for line in evaluations if math.isfinite(line["val_loss"])]
    return min(numbers, key=lambda line: line["val_loss"], default=None)


def is_over(evaluations: Sequence[dict[str, Any]], patience: int) -> bool:
    """Whether the last `patience` evaluations were no better than one before them; never for 0."""
    lowest = best(evaluations)
    return bool(patience and lowest and len(evaluations) - 1 - evaluations.index(lowest) >= patience)
