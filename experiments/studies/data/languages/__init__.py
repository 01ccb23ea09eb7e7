"""The study of languages: how often to read each, what its sentences cost, and what it gets from others.

study      stages, what is predicted and said at the end
plan       settings and runs
corpus     the languages, how much text the web has of each, and the ways to sample them
parallel   bits and tokens of the same sentences in each language
measures   tables of these: directions of papers, the law of scarce text, transfer between languages
figures    the pictures; conclusions: what is said at the end
"""

__all__ = ["conclusions", "corpus", "figures", "measures", "parallel", "plan", "study"]
