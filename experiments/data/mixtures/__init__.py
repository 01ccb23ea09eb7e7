"""Which component of a corpus each row of a run is from, and how much of each is read.

weights (shares: fixed, by temperature, UniMax) -> schedule (the component of each row) -> mixed_batches (the
rows themselves, training and validation). Pure functions, but for the tokens that they are given. May import
experiments' and data.batches.
"""

__all__ = ["mixed_batches", "schedule", "weights"]
