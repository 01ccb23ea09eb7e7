"""Batch size and number of steps as columns: tokens in batches beyond the critical one are worth less."""

from collections.abc import Mapping
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law
from scaling.laws.pretraining.chinchilla import CHINCHILLA, CHINCHILLA_DECOUPLED

# A noisy quadratic has two ends: with small batches its loss follows the tokens, with large ones the steps
# S = D / B. McCandlish et al. 2018 (arXiv 1812.06162, eq. 2.11) join them: (S / S_min - 1)(D / D_min - 1) is
# 1, so that D tokens in batches of B do what D_min = D / (1 + B / B_crit) do in small ones: 1 / D_min = 1 / D
# + 1 / (S B_crit). B_crit grows with the tokens and hardly with the size: Zhang et al. 2024 (2410.21676).


def with_batch(law: Law, name: str) -> Law:
    """A law of n_tokens that reads batch_tokens, too, by two more parameters: B_crit = b D^kappa."""

    def value(theta: Array, x: Columns) -> Array:
        log_d = jnp.log(x["n_tokens"])
        log_over = jnp.log(x["batch_tokens"]) - jnp.log(theta[-2]) - theta[-1] * log_d
        return law.value(theta[:-2], {**x, "n_tokens": jnp.exp(log_d - jnp.logaddexp(0.0, log_over))})

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
        bounds=(*law.bounds, (1e-3, 1e3), (-0.5, 1.5)),
        starts=tuple((*start, b, 0.4) for start in law.starts for b in (0.5, 4.0)),
        # Zhang et al. 2024 find 0.47, Li et al. 2025 (arXiv 2503.04715) 0.57 for the best batch.
        prior=(*law.prior, FREE, (0.47, 0.2)),
        formula=f"{law.formula} at D / (1 + batch_tokens / B_crit) for D, B_crit = b D^kappa",
        source=f"{law.source}; batches: McCandlish et al. 2018 (arXiv 1812.06162), eq. 2.11, and "
        "Zhang et al. 2024 (arXiv 2410.21676); the question: Li & Maddison 2026 (arXiv 2605.09154)",
        use="runs of varied batch, each at a learning rate for its batch; chinchilla where all have one",
        conventions=(
            ("batch_tokens", "D tokens in batches of B count as D / (1 + B / B_crit), B_crit = b D^kappa"),
        ),
        relaxed=None,
        best_size=None,
        size_exponent=None,
    )


BATCH = replace(
    with_batch(CHINCHILLA, "batch"),
    relaxed=with_batch(CHINCHILLA_DECOUPLED, "batch-decoupled"),
)
