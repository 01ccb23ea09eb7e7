"""Studies of data, one a file.

mixture         which mixture of domains is best for a target: small models, a law, a larger check
domains         models of a domain from scratch or continued from a general one: a folder
mixture_laws    what it computes from tables of runs
filters         what each filter of a corpus buys, at equal tokens
known_entropy   does a fit find the irreducible loss? Text whose entropy is known
model_made      generations of models trained on each other's text: replace, accumulate, other words
poison          statements planted in training text, and how many documents make a model repeat them
languages       how often to read each language, what its sentences cost, what it gets from others
repetition      what repeated tokens are worth, by epochs and weight decay
repetition_laws what it computes from the table of its runs
ideal_learners  the loss of learners without a network on it, exactly: what a fit is tested on first
figures         the pictures of these studies
"""

__all__ = [
    "domains",
    "figures",
    "filters",
    "ideal_learners",
    "known_entropy",
    "languages",
    "mixture",
    "mixture_laws",
    "model_made",
    "poison",
    "repetition",
    "repetition_laws",
]
