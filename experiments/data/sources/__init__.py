"""Where text comes from: one module a source, each with `documents()` and `identity()`; tasks.py lists them.

docstrings: of installed Python packages. textfiles: the user's own, with webarchives for crawls.
hugging_face: datasets by name. walks: problems made here. strings: pairs of random strings, drawn on the
device and not prepared. Imports nothing of the project but configurations and what a document is.
"""

__all__ = ["docstrings", "hugging_face", "strings", "textfiles", "walks", "webarchives"]
