"""Text, prepared once into tokens on disk, and then read as a pure function of seed and step.

sources (where text comes from) -> tasks.py (seqio Tasks, in one dict `TASKS`) -> splits.py (held-out text,
near-duplicates) -> cache.py (tokens on disk) <- prepare.py (makes it if it is not there) -> batches, and its
mixtures. vocabularies are trained here; vocab.py turns text into ids and back without TensorFlow.

Others import the modules, by name. May import experiments' configs, fields, files and objective; only here is
TensorFlow imported, and only in the process that prepares data.
"""

__all__ = ["batches", "cache", "prepare", "sources", "splits", "tasks", "vocab", "vocabularies"]
