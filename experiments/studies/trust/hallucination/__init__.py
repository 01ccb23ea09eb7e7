"""Study `hallucination`: why models make things up, on models whose every fact is known.

study          its runs, the law, and a larger model that is predicted
asked          what each run makes up, and what follows from it
fine_tuning    what becomes of known facts where unknown ones are taught
self_delusion  whether what a run has said itself is believed, and what cures that
conclusions    what is said of them
figures        the pictures
"""

__all__ = ["asked", "conclusions", "figures", "fine_tuning", "self_delusion", "study"]
