"""What fits, and curves of finished runs, say of new runs.

  two_step         accuracy of a task from a law of the loss and a law of accuracy by loss
  law_comparison   which law predicts larger runs best
  disagreement     where forms of low floor expect less, and the run that would decide
  recipe_comparison
                   how much compute one recipe is worth, measured by another; recipe_pairs: runs of both
                   that match; recipe_gain: draws of the gain, by pairs and law by law
  run_curves       curves in units of their runs, and what some say of another
  collapse         whether the curves of a recipe are one: a run that was made otherwise stands out
  training_band    the loss and the norm of the gradient to be expected of a run in training
  study_curves     both in a study's folder

Imports scaling.table, scaling.laws, scaling.fitting and scaling.optimum; the last four need no jax.
"""

__all__ = [
    "collapse",
    "disagreement",
    "law_comparison",
    "recipe_comparison",
    "run_curves",
    "study_curves",
    "training_band",
    "two_step",
]
