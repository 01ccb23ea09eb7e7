"""How sure an evaluation is.

    intervals     means, paired differences, ratios and means over seeds, with standard errors and intervals
    calibration   whether multiple-choice answers are right as often as their probabilities say

intervals imports numpy and scipy alone; calibration task metrics, and scaling.report.theme for its figure.
"""

__all__ = ["calibration", "intervals"]
