"""Tasks: items given to a checkpoint, its responses, and what they are scored as.

    task            an item, a task, and the JSON-lines files that hold them
    builtin_tasks   BUILTIN_TASKS, generated here
    responses       what a checkpoint responds, from the cache where it is known
    loglikelihood   log-probabilities of continuations, in batches of few shapes
    task_metrics    from responses to numbers with intervals
    span_metrics    exact match and Brier score of spans of a text, from one forward pass
    harness         our checkpoints under EleutherAI's lm-evaluation-harness (an extra)

Imports models, experiments.data and experiments.evaluate's paths, loaded model, cache and statistics.
"""

__all__ = [
    "builtin_tasks",
    "harness",
    "loglikelihood",
    "responses",
    "span_metrics",
    "task",
    "task_metrics",
]
