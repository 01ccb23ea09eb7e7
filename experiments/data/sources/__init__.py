"""Where text comes from: one module a source, each with `documents()` and `identity()`; tasks.py lists them.

docstrings: of installed Python packages. textfiles: the user's own, with webarchives for crawls. tfds,
hugging_face: datasets by name. biographies, queries: facts, and questions, that are known. planted_dirt:
clean text with labelled dirt. planted_statements: what nobody else says. walks: problems made here.
known_entropy: text whose entropy is known. strings: pairs of random strings, drawn on the device and not
prepared. left_out: what of all these is no text, counted. Imports nothing of the project but configurations
and what a document is.
"""

__all__ = [
    "biographies",
    "docstrings",
    "hugging_face",
    "known_entropy",
    "left_out",
    "planted_dirt",
    "planted_statements",
    "queries",
    "strings",
    "textfiles",
    "tfds",
    "walks",
    "webarchives",
]
