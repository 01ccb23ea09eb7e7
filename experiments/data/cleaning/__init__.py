"""What of a corpus is kept: filters of quality, then duplicates, decided in one pass over all documents.

decision: which documents, and what of them. source: a corpus without the rest, as prepare.py asks for it.
May import quality, duplicates, sources, tasks.
"""

__all__ = ["decision", "source"]
