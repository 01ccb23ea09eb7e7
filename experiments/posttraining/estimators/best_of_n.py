"""Best-of-n: what the best of n samples is worth, and how far choosing it moves from the sampler.

Exact where all responses can be listed: `enumerable.best_of_n_logps`.
"""

import numpy as np


def weights(n_samples: int, n: int) -> np.ndarray:
    """float64[N]: the chance that the i-th smallest of N samples is the largest of n drawn from them.

    C(i − 1, n − 1)/C(N, n), i from 1. With values in the order of a proxy, their sum by these weights is the
    mean over all subsets of n of the value of the best by the proxy: the unbiased estimate of best-of-n whose
    variance is that of all N samples (Nakano et al. 2021, arXiv 2112.09332, eq. 4; Gao et al. 2023, arXiv
    2210.10760, appendix).

    Raises:
      ValueError: n is not from 1 to N.
    """
    if not 1 <= n <= n_samples:
        raise ValueError(
            f"best_of_n: n={n} of {n_samples} samples; it must be from 1 to as many as there are"
        )
    i = np.arange(n, n_samples + 1)
    # C(i - 1, n - 1) / C(N, n) = n/N at i = N, and (i - n + 1)/i of the next one below.
    falling = np.cumprod(np.concatenate([[n / n_samples], ((i - n)[1:] / (i - 1)[1:])[::-1]]))[::-1]
    return np.concatenate([np.zeros(n - 1), falling])


def kl_from_samples(n: int, responses_N: np.ndarray, logps_N: np.ndarray, proxy_N: np.ndarray) -> float:
    """KL(best-of-n ‖ sampler) in nats, estimated from N samples to one prompt with their log-probabilities.

    The best is response y with probability F(y)^n − F₋(y)^n, where F and F₋ are the chances of a proxy reward
    that is at most, or below, that of y. A response likelier than 1/N takes its own probability of [0, 1], in
    the order of the proxy; those that are rarer share what is left and count as endlessly many, as in the
    bound `scaling.laws.downstream.repeated_sampling.kl_of_best_of_n`. So it is exact where every response is
    among the likely ones, and the bound where none is.

    Args:
      n: how many the best is chosen from, at most N.
      responses_N: a number for each sample, equal for equal responses.
      logps_N: log-probability of each under the sampler, nats.
      proxy_N: the reward by which the best is chosen.
    """
    n_samples = len(responses_N)
    _, first, counts = np.unique(responses_N, return_index=True, return_counts=True)
    order = np.argsort(np.asarray(proxy_N, float)[first], kind="stable")
    probability, counts = np.exp(np.asarray(logps_N, float)[first])[order], counts[order]
    likely = probability >= 1 / n_samples
    rare = np.where(likely, 0, counts)
    if rare.any():
        rest = max(1 - probability[likely].sum(), 0.0)
        probability = np.where(likely, probability, rest * rare / rare.sum())
    ends = np.cumsum(probability / probability.sum())
    ends[-1] = 1.0
    below = np.concatenate([[0.0], ends[:-1]])
    mass = ends**n - below**n
    with np.errstate(divide="ignore", invalid="ignore"):
        of_likely = np.where(mass > 0, mass * np.log(mass / (ends - below)), 0.0)
    return float(np.where(likely, of_likely, _kl_up_to(ends, n) - _kl_up_to(below, n)).sum())


def _kl_up_to(u: np.ndarray, n: int) -> np.ndarray:
    """∫₀ᵘ n tⁿ⁻¹ log(n tⁿ⁻¹) dt: the part of best-of-n's KL that samples below quantile u contribute."""
    log_u = np.log(np.maximum(u, 1e-300))
    return u**n * (np.log(n) + (n - 1) * (log_u - 1 / n))
