"""What is made of sampled responses.

conversation  lines of a user, each answered in view of all before
labels        pairs for preference tuning, scored by a reward model or the gold world
"""

__all__ = ["conversation", "labels"]
