"""How sure an evaluation is.

    intervals   means, paired differences, ratios and means over seeds, with standard errors and intervals

Imports numpy and scipy alone.
"""

__all__ = ["intervals"]
