"""Loss after supervised fine-tuning by the model's size and the number of examples."""

from collections.abc import Mapping

import numpy as np
from jax import Array

from scaling.laws.law import FREE, Columns, Law


def _value(theta: Array, x: Columns) -> Array:
    E, A, alpha, beta = theta
    return E + A * x["n_params"] ** -alpha * x["n_examples"] ** -beta


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    E, A, alpha, beta = np.moveaxis(theta, -1, 0)
    scale = units["loss"] * units["n_params"] ** alpha * units["n_examples"] ** beta
    return np.stack([units["loss"] * E, scale * A, alpha, beta], axis=-1)


FINE_TUNING = Law(
    name="fine_tuning",
    params=("E", "A", "alpha", "beta"),
    columns=("n_params", "n_examples"),
    value=_value,
    unscale=_unscale,
    bounds=((0.0, 2.0), (1e-6, 50.0), (1e-3, 3.0), (1e-3, 3.0)),
    starts=tuple((E, 1 - E, p, p) for E in (0.3, 0.8) for p in (0.1, 0.4, 1.0)),
    prior=(FREE, FREE, (0.3, 0.3), (0.3, 0.3)),
    formula="E + A / (N^alpha n_examples^beta)",
    source="Zhang et al. 2024 (arXiv 2402.17193), eq. 1",
    use="fine-tuned models on few examples each, passed over until the validation loss is lowest",
)
