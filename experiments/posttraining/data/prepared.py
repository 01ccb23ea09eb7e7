"""Examples of a run from a file, prepared once as its template renders them, and what its row says."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from experiments.config import RunConfig
from experiments.data.batches import shuffled
from experiments.data.vocab import load_vocab
from experiments.fields import to_json
from experiments.objective_configs import ExamplesConfig
from experiments.posttraining.data import records
from experiments.posttraining.data.chat_template import ChatTemplate, load_template
from experiments.posttraining.data.examples import SPLITS, Example, Examples, find, open_examples, prepare


def open_rendered(
    config: RunConfig, read: Callable[[ExamplesConfig, ChatTemplate], Iterable[Example]]
) -> dict[str, Examples]:
    """Both splits of the examples at `examples.path`, prepared if they are not there.

    Raises:
      ValueError: they cannot be read or rendered, or are others than those of `examples.fingerprint`.
    """
    examples = config.examples
    assert examples is not None
    folder = find(examples.task, examples.fingerprint)
    if folder is None:
        template = load_template(examples.template, load_vocab(config.data))
        identity = {
            "source": records.identity(examples.path),
            "template": template.identity,
            "vocab": to_json(config.data),
        }
        folder = prepare(examples.task, identity, lambda: read(examples, template), examples.fingerprint)
    return {split: open_examples(folder, split) for split in SPLITS}


def manifest(config: RunConfig, fingerprint: str, splits: dict[str, Any]) -> dict[str, Any]:
    """What the row of a run says of its examples.

    Args:
      config: the run.
      fingerprint: sha256 of the prepared examples; "" of those that a configuration makes.
      splits: by split, how many there are of what.
    """
    assert config.examples is not None
    return {
        "task": config.examples.task,
        "source": config.examples.path,
        "licence": "the user's own",
        "tokenizer": {"name": config.data.vocab, "size": config.data.vocab_size},
        "fingerprint": fingerprint,
        "splits": splits,
    }


class Rows(Protocol):
    """Examples of a split that are batched by number."""

    def __len__(self) -> int: ...

    def batch(self, numbers_B: np.ndarray) -> dict[str, np.ndarray]:
        """Those with these numbers."""
        ...


def in_batches(
    config: RunConfig, training: Rows, held_out: Rows
) -> tuple[Callable[[int, int, slice], dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """What `RunData` calls `training`, ordered by seed and step, and `validation`: whole batches of as many
    rows as hold the run's n_val_tokens.

    Args:
      config: of the run.
      training: rows of its split.
      held_out: rows of the validation split, two at least.
    """
    n_rows, size = min(len(held_out), max(2, config.n_val_tokens // config.seq_len)), config.batch_size
    size_held_out = min(size, n_rows)
    numbers = np.arange(n_rows - n_rows % size_held_out).reshape(-1, size_held_out)

    def read(seed: int, step: int, rows: slice) -> dict[str, np.ndarray]:
        return training.batch(shuffled(len(training), seed, step, size)[rows])

    return read, [held_out.batch(numbers_B) for numbers_B in numbers]
