"""What of a task's items a run has read: runs of words that they share with the rows it was trained on.

The rows are made again from (seed, step), so that only text counts that the run really saw, in the pieces it
saw. Of a run that goes through its text several times, the first time is looked at.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from experiments.config import RunConfig
from experiments.data.duplicates.decontamination import report
from experiments.data.vocab import load_vocab
from experiments.evaluate.tasks.task import Task
from experiments.training.objectives import data_of


def contamination(config: RunConfig, tasks: Sequence[Task], n: int = 13) -> dict[str, dict[str, Any]]:
    """By task: n_items, n_told (long enough to tell), n_contaminated (half of their runs of words or more
    were read), and the share of each item, None where it cannot be told.

    Args:
      config: of a run that was trained on text.
      tasks: whose items are looked for: prompt, delimiter and target.
      n: words of a run.

    Raises:
      ValueError: the run was trained on something else, or its data are not what they were.
    """
    if config.objective:
        raise ValueError(
            f"--contamination looks in text; this run was trained by {config.objective.kind!r}: ask the run "
            "that it started from"
        )
    items = {
        task.name: [f"{item.prompt}{task.delimiter}{item.target}" for item in task.items] for task in tasks
    }
    return report(items, rows_read(config), n)


def rows_read(config: RunConfig) -> Iterator[bytes]:
    """The text of every row that a run was trained on, once."""
    data, vocab = data_of(config), load_vocab(config.data)
    pieces = vocab.token_bytes()
    pieces[vocab.eos_id] = b"\n"  # the end of a document parts words
    n_steps = config.n_steps
    if not data.components:  # a mixture has no one epoch
        n_steps = min(n_steps, math.ceil(data.tokens_an_epoch / config.batch_tokens))
    for step in range(n_steps):
        tokens: np.ndarray = data.training(config.seed, step, slice(0, config.batch_size))
        yield from (b"".join(map(pieces.__getitem__, row)) for row in tokens.tolist())
