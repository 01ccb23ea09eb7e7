"""Which of several responses is better: as people say it, and as simulated people do.

  rankings    A > B = C as pairs; cycles refused
  strengths   Bradley–Terry and Plackett–Luce: likelihoods, and strengths of items by maximum likelihood
  annotators  simulated ones, with skill, temperature, bias and taste
  agreement   kappas and the agreement matrix of annotators

Pairs as files and as batches are data/pairs.py. Imports nothing of experiments.
"""

__all__ = ["agreement", "annotators", "rankings", "strengths"]
