"""What fits say of new runs.

  two_step         accuracy of a task from a law of the loss and a law of accuracy by loss
  law_comparison   which law predicts larger runs best
  recipe_comparison
                   how much compute one recipe is worth, measured by another; recipe_pairs: runs of both
                   that match; recipe_gain: draws of the gain, by pairs and law by law

Imports scaling.table, scaling.laws and scaling.fitting.
"""

__all__ = ["law_comparison", "recipe_comparison", "two_step"]
