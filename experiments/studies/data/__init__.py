"""Studies of data, one a file.

known_entropy   does a fit find the irreducible loss? Text whose entropy is known
repetition      what repeated tokens are worth, by epochs and weight decay
ideal_learners  the loss of learners without a network on it, exactly: what a fit is tested on first
"""

__all__ = ["ideal_learners", "known_entropy", "repetition"]
