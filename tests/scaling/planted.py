"""Tables of runs from known laws, for the tests of scaling/."""

import numpy as np
import pandas as pd

from scaling.table.runs import Runs, check

TRUTH = {"E": 1.8, "A": 400.0, "B": 1500.0, "alpha": 0.35, "beta": 0.36}


def chinchilla(n_params, n_tokens, E, A, B, alpha, beta):
    return E + A / n_params**alpha + B / n_tokens**beta


def best_size(flops, A, B, alpha, beta, E=0.0):
    """Hoffmann et al. 2022, eq. 4."""
    return (alpha * A / (beta * B)) ** (1 / (alpha + beta)) * (np.asarray(flops) / 6) ** (
        beta / (alpha + beta)
    )


def isoflop_points(budgets, sizes=6, spread=1.2, truth=TRUTH):
    """(n_params, n_tokens) of an IsoFLOP grid around the best sizes."""
    around = np.exp(np.linspace(-spread, spread, sizes))
    n_params = np.concatenate([best_size(c, **truth) * around for c in budgets])
    return n_params, np.repeat(budgets, sizes) / (6 * n_params)


def isoflop_runs(budgets=(1e18, 3e18, 1e19, 3e19), noise=0.0, seed=0, sizes=6, truth=TRUTH) -> Runs:
    n_params, n_tokens = isoflop_points(np.asarray(budgets, float), sizes, truth=truth)
    loss = chinchilla(n_params, n_tokens, **truth)
    loss *= np.exp(noise * np.random.default_rng(seed).standard_normal(len(loss)))
    return check(pd.DataFrame({"n_params": n_params, "n_tokens": n_tokens, "loss": loss}), {})
