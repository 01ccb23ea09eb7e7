"""Selective answering: what is gained by leaving a question open where one is not sure.

`confidence_Q`: how sure a model is of its answer to each question, in any unit of which more is surer;
`right_Q`: whether it is right, 0 or 1. An answer scores 1 where it is right and -t / (1 - t) where it is
wrong; to give none scores 0.
"""

import numpy as np
from scipy.optimize import isotonic_regression

N_FOLDS = 10


def scores(right_Q: np.ndarray, answered_Q: np.ndarray, threshold: float) -> np.ndarray:
    """float64[Q]: the score of each question.

    Args:
      right_Q: whether the answer is right, or its probability to be, then the score is an expectation.
      answered_Q: whether one is given.
      threshold: t, below 1.
    """
    right_Q = np.asarray(right_Q, np.float64)
    return np.where(answered_Q, right_Q - threshold / (1 - threshold) * (1 - right_Q), 0.0)


def best_expected_scores(probability_Q: np.ndarray, threshold: float) -> np.ndarray:
    """float64[Q]: max(0, (p - t) / (1 - t)), what answering exactly where p > t is expected to score.

    No rule of when to answer has a higher expectation if p is the probability to be right (Chow 1970).
    """
    return np.maximum(0.0, (np.asarray(probability_Q, np.float64) - threshold) / (1 - threshold))


def calibrated(confidence_Q: np.ndarray, right_Q: np.ndarray, seed: int = 0) -> np.ndarray:
    """float64[Q]: the probability of being right that a confidence has come to mean, a rising function of it.

    By isotonic regression (Zadrozny & Elkan 2002); that of a question is fitted to nine tenths it is not in,
    as one fitted to its own outcome would know it.

    Args:
      confidence_Q, right_Q: as of this module.
      seed: of the tenths.
    """
    confidence_Q, right_Q = np.asarray(confidence_Q), np.asarray(right_Q)
    found_Q = np.empty(len(right_Q))
    fold_Q = np.random.default_rng(seed).permutation(len(right_Q)) % N_FOLDS
    for fold in range(N_FOLDS):
        here, others = fold_Q == fold, fold_Q != fold
        found_Q[here] = calibrated_on(confidence_Q[others], right_Q[others], confidence_Q[here])
    return found_Q


def calibrated_on(confidence_K: np.ndarray, right_K: np.ndarray, confidence_Q: np.ndarray) -> np.ndarray:
    """float64[Q]: the same of Q questions whose answers nobody has judged, by K others.

    Args:
      confidence_K, right_K: of the others, as of this module.
      confidence_Q: what is to be said of.
    """
    at, place, counts = np.unique(
        np.asarray(confidence_K, np.float64), return_inverse=True, return_counts=True
    )
    if not len(at):
        raise ValueError("calibrated: 0 judged questions to calibrate on; at least 1 is needed")
    means = np.bincount(place, np.asarray(right_K, np.float64)) / counts  # equal ones have one probability
    rising = isotonic_regression(means, weights=counts).x
    return np.interp(np.asarray(confidence_Q, np.float64), at, rising)


def risk_coverage(confidence_Q: np.ndarray, right_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(coverage, risk): shares of questions answered, rising to 1, and of answers the share that is wrong,
    when the surest questions are answered (El-Yaniv & Wiener 2010). Equal confidences come in together."""
    order = np.argsort(-np.asarray(confidence_Q), kind="stable")
    sure, wrong = np.asarray(confidence_Q)[order], 1.0 - np.asarray(right_Q, np.float64)[order]
    last = np.append(sure[1:] != sure[:-1], True)
    n = np.arange(1, len(sure) + 1)
    return n[last] / len(sure), (np.cumsum(wrong) / n)[last]


def area_under_risk(confidence_Q: np.ndarray, right_Q: np.ndarray) -> float:
    """The mean risk over coverages (AURC; Geifman, Uziel & El-Yaniv 2019): the risk itself for a confidence
    that says nothing, less for a better one."""
    coverage, risk = risk_coverage(confidence_Q, right_Q)
    return float(np.diff(coverage, prepend=0.0) @ risk)


def accuracy_at(confidence_Q: np.ndarray, right_Q: np.ndarray, coverage: float) -> float:
    """The share that is right of the surest questions, of which at least `coverage` are answered."""
    found, risk = risk_coverage(confidence_Q, right_Q)
    return float(1 - risk[np.searchsorted(found, coverage - 1e-12)])
