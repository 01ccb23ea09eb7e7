"""Which answers are made up, told from what a model says: detectors, and how well they tell.

A detector is a number for each question, larger where the answer is more likely to be right. From answers
that were sampled: `vote_share` (self-consistency, Wang et al. 2023, arXiv 2203.11171) and minus
`answer_entropy` (semantic entropy, Farquhar et al. 2024, Nature 630; of answers that mean the same only if
they are the same it is the entropy of the answers). From the model's own probabilities: that of its answer,
or what it says when asked whether an answer is true (Kadavath et al. 2022, arXiv 2207.05221).
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from experiments.evaluate.statistics.intervals import Estimate


def _counts(answers_QN: np.ndarray) -> list[np.ndarray]:
    return [np.unique(row, return_counts=True)[1] for row in np.asarray(answers_QN)]


def answer_entropy(answers_QN: np.ndarray) -> np.ndarray:
    """float64[Q], nats: the entropy of the shares of N sampled answers (numbers or texts), which is too low
    where N is small."""
    shares = [counts / counts.sum() for counts in _counts(answers_QN)]
    return np.array([-(share * np.log(share)).sum() for share in shares])


def vote_share(answers_QN: np.ndarray) -> np.ndarray:
    """float64[Q]: the share of the most frequent of N sampled answers."""
    return np.array([counts.max() / counts.sum() for counts in _counts(answers_QN)])


def auroc(detector_Q: np.ndarray, right_Q: np.ndarray) -> float:
    """The probability that a right answer has a larger number than a wrong one, equal ones counting half
    (Mann & Whitney 1947); nan where all are right or none."""
    right_Q = np.asarray(right_Q, bool)
    n_right, n_wrong = int(right_Q.sum()), int((~right_Q).sum())
    if not n_right or not n_wrong:
        return float("nan")
    ranks = rankdata(np.asarray(detector_Q))[right_Q].sum()
    return float((ranks - n_right * (n_right + 1) / 2) / (n_right * n_wrong))


def auroc_interval(
    detector_Q: np.ndarray,
    right_Q: np.ndarray,
    level: float,
    n_bootstrap: int,
    seed: int,
    clusters_Q: np.ndarray | None = None,
) -> Estimate:
    """`auroc` with the percentile interval of resampled questions.

    Args:
      detector_Q, right_Q: as of `auroc`.
      level: of the interval.
      n_bootstrap: resamples; seed: of them.
      clusters_Q: questions with equal ones are drawn together; None: each on its own.
    """
    return _interval(
        *(lambda rows: auroc(detector_Q[rows], right_Q[rows]), len(right_Q), level, n_bootstrap, seed),
        clusters_Q,
    )


def auroc_difference(
    detector_Q: np.ndarray,
    other_Q: np.ndarray,
    right_Q: np.ndarray,
    level: float,
    n_bootstrap: int,
    seed: int,
    clusters_Q: np.ndarray | None = None,
) -> Estimate:
    """auroc(detector) - auroc(other) on the same questions, which are resampled together.

    Args:
      detector_Q: one detector; other_Q: another.
      right_Q: whether the answers are right.
      level: of the interval.
      n_bootstrap: resamples; seed: of them.
      clusters_Q: as of `auroc_interval`.
    """

    def apart(rows: np.ndarray) -> float:
        return auroc(detector_Q[rows], right_Q[rows]) - auroc(other_Q[rows], right_Q[rows])

    return _interval(apart, len(right_Q), level, n_bootstrap, seed, clusters_Q)


def _interval(
    measure: Callable[[np.ndarray], float],
    n: int,
    level: float,
    n_bootstrap: int,
    seed: int,
    clusters_Q: np.ndarray | None,
) -> Estimate:
    rng = np.random.default_rng(seed)
    of_cluster = np.arange(n) if clusters_Q is None else np.unique(clusters_Q, return_inverse=True)[1]
    order, counts = np.argsort(of_cluster, kind="stable"), np.bincount(of_cluster)
    groups = np.split(order, np.cumsum(counts)[:-1])

    def resampled() -> np.ndarray:
        return np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])

    drawn = np.array([measure(resampled()) for _ in range(n_bootstrap)])
    drawn = drawn[np.isfinite(drawn)]  # a resample may have none that is right, or none that is wrong
    if len(drawn) < 2:
        return Estimate(measure(np.arange(n)), *[float("nan")] * 3)
    lo, hi = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(measure(np.arange(n)), float(drawn.std(ddof=1)), float(lo), float(hi))
