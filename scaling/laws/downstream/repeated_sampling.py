"""Repeated sampling: pass@k and best-of-n, measured without bias, and the law of pass@k."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def pass_at_k(n: np.ndarray | int, correct: np.ndarray | int, k: int) -> np.ndarray:
    """Chance that one of k samples is right, unbiased, from n samples a problem of which some were correct.

    1 - C(n - correct, k) / C(n, k): Chen et al. 2021 (arXiv 2107.03374), eq. 1. Its mean over problems is
    pass@k; putting the rate correct / n into 1 - (1 - rate)^k is biased.

    Raises:
      ValueError: k is not between 1 and n, or correct not between 0 and n.
    """
    n, correct = np.broadcast_arrays(np.asarray(n), np.asarray(correct))
    if not np.all((k >= 1) & (k <= n)):
        raise ValueError(f"k={k}; it must be between 1 and the number of samples, {n.min()}")
    if not np.all((correct >= 0) & (correct <= n)):
        raise ValueError("correct must be between 0 and the number of samples")
    wrong = (n - correct)[..., None] - np.arange(k)
    return 1.0 - np.prod(np.maximum(wrong, 0) / (n[..., None] - np.arange(k)), axis=-1)


def best_of_n(scores: np.ndarray, n: int) -> np.ndarray:
    """Expected highest of n scores, unbiased, from [..., samples] scores: the mean over all subsets of n.

    Raises:
      ValueError: n is not between 1 and the number of samples.
    """
    scores = np.sort(np.asarray(scores, float), axis=-1)
    samples = scores.shape[-1]
    if not 1 <= n <= samples:
        raise ValueError(f"n={n}; it must be between 1 and the number of samples, {samples}")
    # Chance that the highest of n is at most the j-th lowest score: C(j, n) / C(samples, n).
    at_most = 1.0 - pass_at_k(samples, samples - np.arange(samples + 1), n)
    return scores @ np.diff(at_most)


def kl_of_best_of_n(n: np.ndarray | float) -> np.ndarray:
    """Divergence of best-of-n from plain sampling, in nats: log n - (n - 1) / n.

    Exact where no two samples are equal (Stiennon et al. 2020, arXiv 2009.01325, appendix G.3), else an upper
    bound (Beirami et al. 2024, arXiv 2401.01879).
    """
    return np.log(n) - (np.asarray(n, float) - 1) / n


def _pass_at_k(theta: Array, x: Columns) -> Array:
    a, b = theta
    return jnp.exp(-a * jnp.exp(-b * jnp.log(x["k"])))


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    a, b = np.moveaxis(theta, -1, 0)
    return np.stack([a * units["k"] ** b, b], axis=-1)


# A single problem's pass@k is 1 - (1 - rate)^k; the mean over problems of all rates is a power law of k.
PASS_AT_K = Law(
    name="pass_at_k",
    params=("a", "b"),
    columns=("k",),
    value=_pass_at_k,
    unscale=_unscale,
    bounds=((1e-6, 100.0), (0.0, 5.0)),
    starts=tuple((a, b) for a in (0.3, 2.0) for b in (0.2, 0.7)),
    prior=(FREE, (0.4, 0.3)),
    formula="exp(-a k^-b), k samples a problem",
    source="Brown et al. 2024 (arXiv 2407.21787), section 3",
    use="mean over many problems; measure it by scaling.laws.downstream.repeated_sampling.pass_at_k",
    target="pass_at_k",
    scale="linear",
)
