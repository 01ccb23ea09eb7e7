"""Best-of-n: what the best of n samples is worth, and how far choosing it moves from the sampler.

Exact where all responses can be listed: `enumerable.best_of_n_logps`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def kl_bound(n: ArrayLike) -> jax.Array:
    """log n − (n − 1)/n in nats: KL(best-of-n ‖ sampler) of endlessly many responses without equal rewards
    (Stiennon et al. 2020, arXiv 2009.01325, appendix G.3), else an upper bound (Beirami et al. 2024, arXiv
    2401.01879)."""
    n = jnp.asarray(n, jnp.float32)
    return jnp.log(n) - (n - 1) / n


def weights(n_samples: int, n: int) -> np.ndarray:
    """float64[N]: the chance that the i-th smallest of N samples is the largest of n drawn from them.

    C(i − 1, n − 1)/C(N, n), i from 1.

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


def expected_best(proxy_BN: jax.Array, n: int, value_BN: jax.Array | None = None) -> jax.Array:
    """float32[B]: unbiased estimate of the value of best-of-n from N ≥ n samples to each of B prompts.

    The mean over all subsets of n of the value of their best by the proxy (Nakano et al. 2021, arXiv
    2112.09332, eq. 4; Gao et al. 2023, arXiv 2210.10760, appendix). Its variance is that of all N samples.

    Args:
      proxy_BN: the reward by which the best is chosen.
      n: how many it is chosen from; static.
      value_BN: what is asked of the best; None: the proxy itself. Of equal proxies any may be chosen.
    """
    order_BN = jnp.argsort(proxy_BN, axis=1)
    value_BN = jnp.take_along_axis(proxy_BN if value_BN is None else value_BN, order_BN, axis=1)
    return value_BN @ jnp.asarray(weights(proxy_BN.shape[1], n), value_BN.dtype)
