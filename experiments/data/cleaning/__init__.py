"""What of a corpus is kept: filters of quality, then duplicates, decided in one pass over all documents.

decision: which documents, and what of them. source: a corpus without the rest, as prepare.py asks for it.
beam: the same on many machines; beam_survey: what is in a corpus, there. Only these two know Apache Beam.
May import composition, quality, duplicates, sources, tasks, vocabularies.
"""

__all__ = ["decision", "source"]
