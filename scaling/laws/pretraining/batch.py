"""Batch size and number of steps as columns: tokens in batches beyond the critical one are worth less."""

from collections.abc import Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law
from scaling.laws.pretraining.chinchilla import CHINCHILLA, CHINCHILLA_DECOUPLED

# A noisy quadratic has two ends: with small batches its loss follows the tokens, with large ones the steps
# S = D / B. McCandlish et al. 2018 (arXiv 1812.06162, eq. 2.11) join them at a given loss: (S / S_min - 1)
# (D / D_min - 1) = 1, so that D tokens in batches of B do what D_min = D / (1 + B / B_crit) do in small ones.
# B_crit grows with what was learnt, and hardly with the size: Zhang et al. 2024 (arXiv 2410.21676). It is
# taken at D_min, not at D: then runs of equal loss keep to that hyperbola whatever kappa is.
NEWTON = 8  # steps: to the last digits from a start that is off by log 2 at most


def with_batch(law: Law, name: str) -> Law:
    """A law of n_tokens that reads batch_tokens, too, by two more parameters: B_crit = b D_min^kappa."""

    def value(theta: Array, x: Columns) -> Array:
        b, kappa = theta[-2], theta[-1]
        log_least = log_least_tokens(jnp.log(x["n_tokens"]), jnp.log(x["batch_tokens"]) - jnp.log(b), kappa)
        return law.value(theta[:-2], {**x, "n_tokens": jnp.exp(log_least)})

    def unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
        b, kappa = theta[..., -2], theta[..., -1]
        own = np.stack([units["batch_tokens"] * b / units["n_tokens"] ** kappa, kappa], axis=-1)
        return np.concatenate([law.unscale(theta[..., :-2], units), own], axis=-1)

    return replace(
        law,
        name=name,
        params=(*law.params, "b", "kappa"),
        columns=(*law.columns, "batch_tokens"),
        value=value,
        unscale=unscale,
        bounds=(*law.bounds, (1e-3, 1e3), (-0.5, 0.95)),
        starts=tuple((*start, b, 0.4) for start in law.starts for b in (0.5, 4.0)),
        # Zhang et al. 2024 find 0.47, Li et al. 2025 (arXiv 2503.04715) 0.57 for the best batch.
        prior=(*law.prior, FREE, (0.47, 0.2)),
        formula=f"{law.formula}, D' for D: D = D' (1 + batch_tokens / B_crit), B_crit = b D'^kappa",
        source=f"{law.source}; batches: McCandlish et al. 2018 (arXiv 1812.06162), eq. 2.11, and "
        "Zhang et al. 2024 (arXiv 2410.21676); the question: Li & Maddison 2026 (arXiv 2605.09154)",
        use="runs of varied batch, each at a learning rate for its batch; chinchilla where all have one",
        conventions=(
            ("batch_tokens", "D' (1 + B / B_crit) tokens in batches of B count as D', B_crit = b D'^kappa"),
        ),
        relaxed=None,
        best_size=None,
        size_exponent=None,
    )


def log_least_tokens(log_tokens: Array, log_batch: Array, kappa: Array) -> Array:
    """Log of the tokens that small batches need: u with e^u + e^(log_batch + (1 - kappa) u) = e^log_tokens.

    The log of the left side is convex in u and rises, so that Newton's method comes down to it from above.

    Args:
      log_tokens: of a run. log_batch: of its batch over b.
      kappa: less than 1.
    """
    u = jnp.minimum(log_tokens, (log_tokens - log_batch) / (1 - kappa))
    for _ in range(NEWTON):
        ahead = log_batch - kappa * u  # log of B / B_crit
        share = jax.nn.sigmoid(ahead)
        u = u - (u + jax.nn.softplus(ahead) - log_tokens) / (1 - kappa * share)
    return u


BATCH = replace(
    with_batch(CHINCHILLA, "batch"),
    relaxed=with_batch(CHINCHILLA_DECOUPLED, "batch-decoupled"),
)
