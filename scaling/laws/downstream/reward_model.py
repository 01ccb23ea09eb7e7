"""How often a reward model ranks a pair wrongly, by its size, its pairs, and the noise of their labels."""

from collections.abc import Mapping

import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _value(theta: Array, x: Columns) -> Array:
    E, A, B, alpha, beta = theta
    worth = (1 - 2 * x["label_noise"]) ** 2
    return E + A * x["n_params"] ** -alpha + B * (x["n_pairs"] * worth) ** -beta


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, B, alpha, beta = np.moveaxis(theta, -1, 0)
    error = units["error"]
    return np.stack(
        [
            error * E,
            error * A * units["n_params"] ** alpha,
            error * B * units["n_pairs"] ** beta,
            alpha,
            beta,
        ],
        axis=-1,
    )


REWARD_MODEL = Law(
    name="reward_model",
    params=("E", "A", "B", "alpha", "beta"),
    columns=("n_params", "n_pairs", "label_noise"),
    value=_value,
    unscale=_unscale,
    bounds=((0.0, 2.0), (1e-6, 50.0), (1e-6, 50.0), (0.01, 3.0), (0.01, 3.0)),
    starts=tuple((E, 0.3, 0.7, p, p) for E in (0.1, 0.6) for p in (0.2, 0.5, 1.0)),
    prior=(FREE, FREE, FREE, (0.4, 0.3), (0.4, 0.3)),
    formula="E + A / N^alpha + B / (n_pairs (1 - 2 label_noise)^2)^beta",
    source="our form: Hoffmann et al. 2022 (arXiv 2203.15556) for size and pairs; pairs of which a share is "
    "labelled wrongly are worth (1 - 2 share)^2 as many (Angluin & Laird 1988)",
    use="error: share of pairs ranked otherwise than by the true reward; label_noise: share of wrong labels",
    target="error",
    dimensionless=("label_noise",),
)
