"""How well a score ranks what is right above what is wrong."""

import numpy as np
from scipy.stats import rankdata


def auroc(scores: np.ndarray, right: np.ndarray) -> float:
    """How likely the score [n] of a right item is above that of a wrong one, ties counted half: the area
    under the ROC curve, as Mann and Whitney's statistic (Hanley & McNeil 1982).

    NaN where all are right or all wrong.
    """
    right = np.asarray(right, bool)
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    if not (n_right and n_wrong):
        return float("nan")
    above = rankdata(scores)[right].sum() - n_right * (n_right + 1) / 2
    return float(above / (n_right * n_wrong))
