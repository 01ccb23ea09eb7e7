"""Evaluating checkpoints: loss on texts, accuracy on tasks, with intervals, side by side.

    checkpoint_paths       which checkpoints a path names, and their fingerprints; imports no jax
    loaded_model           a checkpoint with its vocabulary, ready to run
    language_modelling     loss and bits per byte on texts
    tasks                  items, responses and metrics
    statistics             means and differences with intervals
    checkpoint_comparison  checkpoints by tasks: rows, paired differences, means over seeds
    response_cache         responses and token losses on disk: nothing is computed twice
    formatting             metrics as JSON, rows and text
    samples                samples as text and JSON; conversations; pairs for preference tuning
    structured             a required form by prompt, repair and constraint: how much is valid
    terminal               text that nobody vouches for, as a terminal may show it
    trust                  consistency, hallucination, abstention, diversity of what a checkpoint says
    harness                our checkpoints under EleutherAI's lm-evaluation-harness (an extra)

Imports models, experiments.data and experiments.training.checkpoints, and scaling.report.theme for a
figure. Names are imported from the modules: several import jax, and who needs only paths or statistics does
without.
"""

__all__ = [
    "checkpoint_comparison",
    "checkpoint_paths",
    "formatting",
    "harness",
    "language_modelling",
    "loaded_model",
    "response_cache",
    "samples",
    "statistics",
    "structured",
    "tasks",
    "terminal",
    "trust",
]
