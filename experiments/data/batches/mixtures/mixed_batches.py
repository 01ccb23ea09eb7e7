"""Batches of a corpus with components, as a pure function of (seed, step) like those of `windows`.

The schedule says of which component a row is; which window of it follows from the component's own shuffled
order, epoch after epoch. Windows never reach from one component into another.
"""

from collections.abc import Sequence

import numpy as np

from experiments.data.batches.mixtures.schedule import Schedule
from experiments.data.batches.windows import count_windows, permute, take_windows


def batch(
    components: Sequence[np.ndarray],
    schedule: Schedule,
    seed: int,
    step: int,
    batch_size: int,
    seq_len: int,
    rows: slice = slice(None),
) -> np.ndarray:
    """Tokens int32[B, seq_len + 1] of one training step.

    Args:
      components: int[n_tokens] of each, what may be read of it.
      schedule: of the run's rows.
      seed: of the order of each component's windows.
      step: counts from 0.
      batch_size: rows of the whole batch, over all hosts.
      seq_len: tokens that a row predicts.
      rows: the rows wanted here, for a host that holds a part of the batch.
    """
    component, number = schedule.rows(step * batch_size + np.arange(batch_size)[rows])
    found = np.empty((len(component), seq_len + 1), np.int32)
    for i in np.unique(component):
        tokens, here = components[i], component == i
        n = count_windows(len(tokens), seq_len)
        epoch, place = np.divmod(number[here], n)
        windows = np.empty(len(place), np.int64)
        for e in np.unique(epoch):
            windows[epoch == e] = permute(place[epoch == e], n, seed, int(e))
        found[here] = take_windows(tokens, windows, seq_len)
    return found


def validation_batches(
    components: Sequence[np.ndarray], batch_size: int, seq_len: int, n_val_tokens: int
) -> list[np.ndarray]:
    """The leading rows of each component in turn, equally many of each in every batch: int32[B, seq_len + 1].

    Row r of all batches is of component r modulo k. A batch has at most `batch_size` rows, or two of each
    component; rows that fill no batch are left out.

    Args:
      components: int[n_tokens] of each of the k, of the validation split.
      batch_size: rows of a batch, at most, where that is 2·k or more.
      seq_len: tokens that a row predicts.
      n_val_tokens: tokens to predict, at most, over all components.

    Raises:
      ValueError: fewer than two rows of each.
    """
    k = len(components)
    n_rows = min(n_val_tokens // seq_len // k, *(count_windows(len(c), seq_len) for c in components))
    if n_rows < 2:
        raise ValueError(
            f"run: n_val_tokens={n_val_tokens} in rows of seq_len={seq_len} are {n_rows} of each of {k} "
            "components; a loss with a standard error needs two of each"
        )
    size = min(max(2, batch_size // k), n_rows)
    each = np.stack(
        [take_windows(tokens, np.arange(n_rows - n_rows % size), seq_len) for tokens in components], axis=1
    )
    return list(each.reshape(-1, size * k, seq_len + 1))
