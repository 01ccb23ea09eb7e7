"""Tables from known truths, for checking what is said of them.

  truth    Chinchilla's law with what real tables add to it: noise, outliers, runs that are missing
  forms    truths of other forms, each from its source
  worlds   kinds of truths, drawn from a seed
  designs  which runs are made, and which larger ones are asked for

Imports nothing else of scaling.
"""

from scaling.simulate.truth import SimulatedTruth, isoflop_grid, measure, random_truth

__all__ = ["SimulatedTruth", "designs", "forms", "isoflop_grid", "measure", "random_truth", "worlds"]
