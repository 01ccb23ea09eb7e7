"""Batches as a pure function of (seed, step): windows of a corpus in shuffled order; mixtures of components.

May import experiments' config and objective, and data.cache.
"""

from experiments.data.batches.windows import (
    batch,
    count_windows,
    epochs,
    permute,
    shuffled,
    take_windows,
    validation_batches,
)

__all__ = [
    "batch",
    "count_windows",
    "epochs",
    "mixtures",
    "permute",
    "shuffled",
    "take_windows",
    "validation_batches",
]
