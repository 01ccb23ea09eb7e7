"""Which component of a corpus each row of a run is from, and how much of each is read.

weights (shares: fixed, by temperature, UniMax) -> schedule (the component of each row) -> mixed_batches (the
rows themselves, training and validation) -> mixed_corpus (all that a run needs of its data). May import
experiments' config and objective, data.cache and data.batches.
"""

__all__ = ["mixed_batches", "mixed_corpus", "schedule", "weights"]
