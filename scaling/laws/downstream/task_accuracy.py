"""Downstream accuracy as a sigmoid of the loss; with a law of the loss: scaling/prediction/two_step.py."""

from collections.abc import Mapping

import jax
import numpy as np
from jax import Array

from scaling.laws.law import Columns, Law


def _downstream(theta: Array, x: Columns) -> Array:
    low, high, middle, slope = theta
    return low + (high - low) * jax.nn.sigmoid(slope * (middle - x["loss"]))


def _unscale(theta: np.ndarray, units: Mapping[str, float]) -> np.ndarray:
    low, high, middle, slope = np.moveaxis(theta, -1, 0)
    return np.stack([low, high, middle * units["loss"], slope / units["loss"]], axis=-1)


DOWNSTREAM = Law(
    name="downstream",
    params=("low", "high", "middle", "slope"),
    columns=("loss",),
    value=_downstream,
    unscale=_unscale,
    bounds=((0.0, 1.0), (0.0, 1.0), (0.01, 10.0), (0.05, 200.0)),
    starts=tuple((0.2, 0.9, middle, slope) for middle in (0.7, 1.0, 1.3) for slope in (3.0, 12.0)),
    prior=((0.25, 0.25), (0.9, 0.2), (1.0, 0.5), (10.0, 20.0)),
    formula="low + (high - low) / (1 + e^(slope (loss - middle))); low near chance, high near 1",
    source="Bhagia et al. 2024 (arXiv 2412.04403), eq. 2; Llama 3 (arXiv 2407.21783), section 3.2.1",
    use="accuracy of a task by its loss; with a law of the loss: scaling.prediction.two_step.two_step",
    target="accuracy",
    scale="linear",
)
