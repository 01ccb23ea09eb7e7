"""What is made of sampled responses.

sample_output  samples as text and JSON, and a choice among them
best_of        the best of several by log-probability, vote or reward
conversation   lines of a user, each answered in view of all before
labels         pairs for preference tuning, scored by a reward model or the gold world
"""

__all__ = ["best_of", "conversation", "labels", "sample_output"]
