"""Filters of quality: pure functions of a document that say whether it stays, and why not.

Rules of others, a file each with its source: c4, gopher, fineweb. Ours: markup, gibberish, truncation. What
needs more than a document: votes (a field), perplexity and classifier (text to learn from), model_perplexity
(and a checkpoint). `chain` has them all by name, puts them in a row and counts what each removes; `verdict`
is what they return.
"""

__all__ = [
    "c4",
    "chain",
    "classifier",
    "fineweb",
    "gibberish",
    "gopher",
    "markup",
    "model_perplexity",
    "perplexity",
    "truncation",
    "verdict",
    "votes",
]
