"""Mixtures of training data to run: the corners, the centre, and points spread over the simplex."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from scipy.stats import qmc


def mixture_grid(
    n: int, domains: Sequence[str], seed: int = 0, concentration: float = 1.0, corners: bool = True
) -> pd.DataFrame:
    """n mixtures of the domains, as columns share_<domain>: the same for the same seed.

    The first is the centre, the next are one domain each, and the rest are drawn from the symmetric Dirichlet
    distribution, by scrambled Sobol points so that they spread evenly. A larger grid begins with the smaller
    ones.

    Args:
      n: mixtures in all; a law of `mixture:…` has twice as many parameters as domains, and one more.
      domains: names, two or more.
      seed: of the scrambling.
      concentration: of the Dirichlet distribution: 1 is uniform, less prefers corners, more the centre.
      corners: whether mixtures of one domain alone are among them.

    Raises:
      ValueError: fewer than two domains, one named twice, too few mixtures, or a concentration that is not
        positive.
    """
    if len(domains) < 2 or len(set(domains)) < len(domains):
        raise ValueError(f"domains={list(domains)}; name two or more, each once")
    fixed = [np.full(len(domains), 1 / len(domains)), *(np.eye(len(domains)) if corners else ())]
    if n < len(fixed):
        raise ValueError(f"n={n}; the centre and the corners alone are {len(fixed)} mixtures")
    if not 0 < concentration < np.inf:
        raise ValueError(f"concentration={concentration}; it must be positive and finite")
    sobol = qmc.Sobol(len(domains), rng=seed)
    uniform = sobol.random_base2(max(int(np.ceil(np.log2(max(n - len(fixed), 1)))), 1))
    # Gamma variates over their sum are Dirichlet; below 1e-300 they would be 0 / 0.
    gamma = np.maximum(stats.gamma.ppf(uniform[: n - len(fixed)], concentration), 1e-300)
    drawn = gamma / gamma.sum(axis=1, keepdims=True)
    return pd.DataFrame([*fixed, *drawn], columns=[f"share_{domain}" for domain in domains])
