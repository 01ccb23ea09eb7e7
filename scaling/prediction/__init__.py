"""What fits say of new runs.

  two_step         accuracy of a task from a law of the loss and a law of accuracy by loss
  law_comparison   which law predicts larger runs best

Imports scaling.table, scaling.laws and scaling.fitting.
"""

__all__ = ["law_comparison", "two_step"]
