"""What of a corpus is kept: filters of quality, then duplicates, decided in one pass over all documents.

`decision` does it on this machine. May import quality, duplicates and document.
"""

__all__ = ["decision"]
