"""Tasks: items given to a checkpoint, its responses, and what they are scored as.

    task            an item, a task, and the JSON-lines files that hold them
    builtin_tasks   BUILTIN_TASKS, generated here
    responses       what a checkpoint responds, from the cache where it is known
    loglikelihood   log-probabilities of continuations, in batches of few shapes
    task_metrics    from responses to numbers with intervals
    span_metrics    exact match and Brier score of spans of a text, from one forward pass
    calibration     whether multiple-choice answers are right as often as their probabilities say
    contamination   which items a run has read while it trained

Imports models, experiments.data, experiments.training.objectives and experiments.evaluate's paths, loaded
model, cache and statistics; for a figure scaling.report.theme.
"""

__all__ = [
    "builtin_tasks",
    "calibration",
    "contamination",
    "loglikelihood",
    "responses",
    "span_metrics",
    "task",
    "task_metrics",
]
