"""How far annotators agree, and how far beyond chance. Labels are small integers from 0 on."""

import numpy as np


def agreement_matrix(labels_KN: np.ndarray) -> np.ndarray:
    """Share of items that two annotators label alike, float64[K,K] of labels int[K,N]; 1 on the diagonal."""
    labels_KN = _checked(labels_KN)
    return (labels_KN[:, None] == labels_KN[None]).mean(axis=-1)


def cohen_kappa(labels_N: np.ndarray, others_N: np.ndarray) -> float:
    """(p_o − p_e)/(1 − p_e) of two annotators (Cohen 1960): agreement beyond that of their labels' shares.

    NaN where both say one and the same of everything: there is nothing to disagree on.

    Raises:
      ValueError: no labels, or not as many of each.
    """
    labels_2N = _checked([labels_N, others_N])
    shares_2C = [np.bincount(labels, minlength=labels_2N.max() + 1) / len(labels) for labels in labels_2N]
    return _beyond_chance((labels_2N[0] == labels_2N[1]).mean(), float(np.dot(*shares_2C)))


def fleiss_kappa(labels_KN: np.ndarray) -> float:
    """Agreement beyond chance of K annotators, who are not told apart (Fleiss 1971); NaN as of `cohen_kappa`.

    Raises:
      ValueError: no labels, or fewer than two annotators.
    """
    labels_KN = _checked(labels_KN)
    K = len(labels_KN)
    if K < 2:
        raise ValueError("fleiss_kappa: one annotator; agreement needs two")
    counts_CN = (labels_KN == np.arange(labels_KN.max() + 1)[:, None, None]).sum(axis=1)
    observed = ((counts_CN**2).sum(axis=0) - K).mean() / (K * (K - 1))
    return _beyond_chance(observed, float(((counts_CN.sum(axis=1) / labels_KN.size) ** 2).sum()))


def _beyond_chance(observed: float, by_chance: float) -> float:
    return float((observed - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan")


def _checked(labels) -> np.ndarray:
    if len({len(row) for row in labels}) != 1 or not len(labels[0]):
        raise ValueError(
            f"agreement: annotators have {[len(row) for row in labels]} labels; each needs one an item, and "
            "there must be items"
        )
    return np.asarray(labels)
