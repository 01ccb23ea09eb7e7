"""The larger sections of the page, one a file; `scaling.report.contents` puts all sections in order.

Each has a function `section` (or `sections`), whose result is None (or empty) where there is nothing to show:

  missing      what an unfinished study lacks         headline         the top of the page
  findings     what a study wrote of its own          post_training    rewards and divergence over training
  families     families of models side by side        calculator       the best model for a budget
  emergence    jumps of metrics, inverse scaling      hyperparameters  learning rate and batch
  tasks        accuracy against loss                  comparison       which law predicts best
  bottlenecks  the outlook for the largest runs       numbers          law, runs, conventions as tables
  snippet      the fit as text for an appendix

They import `page`, `theme`, `charts`, `tables` and `data` of the report, and other sub-packages of `scaling`.
"""

__all__ = [
    "bottlenecks",
    "calculator",
    "comparison",
    "emergence",
    "families",
    "findings",
    "headline",
    "hyperparameters",
    "missing",
    "numbers",
    "post_training",
    "snippet",
    "tasks",
]
