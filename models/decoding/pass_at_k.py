"""pass@k: how likely at least one of k samples is right, from n samples of which c are."""

import numpy as np


def pass_at_k(n: int, correct: np.ndarray | int, k: int) -> np.ndarray:
    """The unbiased estimate of pass@k of each problem, float64, in the shape of `correct`.

    It is 1 - C(n - c, k) / C(n, k), the chance that k of the n samples, drawn without replacement, hold a
    right one; computed as 1 - Π (1 - k / i) over i from n - c + 1 to n, in which nothing overflows (Chen et
    al. 2021, eq. 1).

    Raises:
      ValueError: k is not from 1 to n, or `correct` not from 0 to n.
    """
    correct = np.asarray(correct)
    if not 1 <= k <= n:
        raise ValueError(f"k={k}; it must be from 1 to the number of samples, {n}")
    if correct.size and not (correct.min() >= 0 and correct.max() <= n):
        raise ValueError(f"correct is {correct.min()} to {correct.max()}; it must be from 0 to {n}")
    factors = np.maximum(1 - k / np.arange(1, n + 1), 0.0)  # of i = 1 … n
    # fails[c] is the product of the last c factors.
    fails = np.concatenate([[1.0], np.cumprod(factors[::-1])])
    return 1.0 - fails[correct]
