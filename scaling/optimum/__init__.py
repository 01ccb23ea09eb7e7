"""The compute-optimal model for a budget, by a fit.

  frontier     size, tokens and loss of a budget; what a budget may be spent on
  returns      the budget for a loss, the price of the next per cent
  experts      the best number of experts; families: families of models at equal compute
  mixtures     the best shares of domains for a weighted target, under caps
  approaches   the three approaches on the same runs, and each one's bias

Imports scaling.table, scaling.laws, scaling.profiles and scaling.fitting.
"""

__all__ = ["approaches", "experts", "families", "frontier", "mixtures", "returns"]
