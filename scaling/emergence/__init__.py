"""Emergence and inverse scaling: whether a jump over scale is the metric's doing, and what gets worse.

  metric_artefact  a jump of exact match, tested against the per-token metric of the same responses
  breaks           a break of a smooth metric over scale
  inverse_scaling  better with scale, worse, or first one and then the other

It imports no other part of `scaling`.
"""

from scaling.emergence.inverse_scaling import Trend, classify_trend
from scaling.emergence.metric_artefact import FEWEST, Jump, brier, exact_match, explain_jump

__all__ = ["FEWEST", "Jump", "Trend", "brier", "classify_trend", "exact_match", "explain_jump"]
