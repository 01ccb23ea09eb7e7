"""The study of annealing.

study         one trunk, many branches: a law of the curve, and schedules that it has not seen
curve_fit     laws of whole curves fitted to what runs recorded, and what they say of others
figures       its pictures
"""

__all__ = ["curve_fit", "figures", "study"]
