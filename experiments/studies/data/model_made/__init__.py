"""Study `model_made`: generations of models trained on each other's text.

study        its runs: replace, accumulate, shares of real text, other words
generations  corpora sampled from checkpoints
collapse     what becomes of the generations, measured and in theory
"""

__all__ = ["collapse", "generations", "study"]
