"""Downstream accuracy in two steps: a law tells the loss, and a sigmoid of the loss tells the accuracy."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import Array

from scaling.laws.law import Columns, Law

if TYPE_CHECKING:
    from scaling.fitting.fit import Fit, Prediction

QUANTILES = 40  # equally likely values that stand for a forecast's distribution; even, so they are pairs


def two_step(loss_fit: "Fit", accuracy_fit: "Fit", **columns) -> "Prediction":
    """The accuracy of new runs: the loss that one fit foretells, put into another fit of accuracy by loss.

    The interval holds the doubt of both steps and the noise of both measurements, taken as independent.

    Args:
      loss_fit: fit of any law of the loss (best: that of the correct answers); its level is the interval's.
      accuracy_fit: fit of a law that reads `loss`, such as downstream.
      columns: what loss_fit's law reads, arrays or scalars.

    Raises:
      ValueError: as `Fit.predict`; the intervals are NaN where a fit has no draws.
    """
    loss = loss_fit.predict(**columns)
    told = accuracy_fit.predict(loss=loss.loss)
    if np.any(np.isnan([loss.lo, told.lo])):  # no draws
        return told._replace(lo=told.loss * np.nan, hi=told.loss * np.nan)
    accuracies = _spread(accuracy_fit, {"loss": _spread(loss_fit, columns)})
    likely = accuracies.reshape(QUANTILES**2, *np.shape(told.loss))
    tail = (1 - loss_fit.level) / 2
    lo, hi = np.quantile(likely, [tail, 1 - tail], axis=0, method="hazen")  # each the middle of its share
    return told._replace(lo=lo, hi=hi)


def _spread(fit: "Fit", columns: Mapping) -> np.ndarray:
    """[QUANTILES, *rows] equally likely values of the target."""
    levels = (np.arange(QUANTILES // 2) + 0.5) / (QUANTILES // 2)
    pairs = [replace(fit, level=level).predict(**columns) for level in levels]
    return np.concatenate([[pair.lo for pair in pairs], [pair.hi for pair in pairs]])


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
    use="accuracy of a task by its loss; with a law of the loss: scaling.laws.downstream.two_step",
    target="accuracy",
    scale="linear",
)
