"""Where text comes from: one module a source, each with `documents()` and `identity()`; tasks.py lists them.

docstrings: of installed Python packages. textfiles: the user's own. walks: problems made here. strings: pairs
of random strings, drawn on the device and not prepared. Imports nothing of the project.
"""

__all__ = ["docstrings", "strings", "textfiles", "walks"]
